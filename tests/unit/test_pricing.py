"""The worst case of a workflow: every bound reached, and nothing unknown taken for free."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from coordinator.pricing import Line, price, span
from coordinator.workflow import compile_workflow
from schemas.agent import AgentSpec
from schemas.usage import Budget
from schemas.workflow import StepSpec, WorkflowSpec

PAID = Budget(tokens=100, usd=Decimal("0.01"))
AGENTS = {
    "paid": AgentSpec(name="paid", budget=PAID),
    "spare": AgentSpec(name="spare", budget=PAID, timeout_s=7),
    "senior": AgentSpec(name="senior", budget=PAID),
    "undoer": AgentSpec(name="undoer", budget=PAID),
    "open": AgentSpec(name="open"),
    "no-usd": AgentSpec(name="no-usd", budget=Budget(tokens=5)),
}


def worst(*steps: dict[str, Any], **fields: Any) -> Any:
    plain = {"agent": "paid", "attempts_max": 2, "timeout_s": 10, "backoff_s": 1}
    made = [
        StepSpec.model_validate(s if "wait" in s or "approval" in s else plain | s) for s in steps
    ]
    spec = WorkflowSpec(name="w", on=("e",), steps=tuple(made), **fields)
    return price(compile_workflow(spec, AGENTS))


def runs(found: Any) -> dict[str, int]:
    return {line.role: line.runs for line in found.lines}


def test_a_plain_step_costs_its_attempts() -> None:
    [line] = worst({"name": "a"}).lines

    assert line == Line("a", "agent", "paid", 2, "2 attempts", 200, Decimal("0.02"), seconds=21)


def test_rounds_items_and_stand_ins_multiply_and_add() -> None:
    loop = {"name": "a", "loop": {"until": "output", "iterations_max": 5}}
    many = {"name": "a", "map": {"over": "data.x", "items_max": 50, "concurrency": 20}}

    assert runs(worst(loop)) == {"agent": 10}
    assert runs(worst(loop | {"fallback": "spare"})) == {"agent": 10, "fallback": 10}
    assert runs(worst(loop | {"escalate_to": "senior"})) == {"agent": 10, "escalate_to": 2}
    both = loop | {"escalate_to": "senior", "fallback": "spare"}
    assert runs(worst(both)) == {"agent": 10, "fallback": 10, "escalate_to": 2}
    assert runs(worst(many | {"undo": "undoer"})) == {"agent": 100, "undo": 2}
    assert worst(many).lines[0].how == "2 attempts x 50 items"


def test_items_run_side_by_side_and_the_rest_one_after_another() -> None:
    many = {"name": "a", "map": {"over": "data.x", "items_max": 50, "concurrency": 20}}
    loop = {"name": "b", "loop": {"until": "output", "iterations_max": 5}, "fallback": "spare"}

    assert worst(many).seconds == {"a": 3 * 21}
    assert worst(loop).seconds == {"b": 5 * (21 + 15)}


def test_waits_people_and_reviews_take_their_time() -> None:
    found = worst(
        {"name": "a", "review_below": 0.5, "review_timeout_s": 100},
        {"name": "b", "after": ["a"], "wait": {"event": "x", "timeout_s": 500}},
        {"name": "c", "after": ["a"], "approval": {"of": "a", "timeout_s": 300}},
        {"name": "d", "after": ["b", "c"]},
    )

    assert found.seconds == {"a": 121, "b": 500, "c": 300, "d": 21}
    assert found.path == ("a", "b", "d")
    assert found.path_s == 642
    assert not found.problems


def test_back_off_doubles_up_to_its_bound() -> None:
    step = {"name": "a", "attempts_max": 6, "timeout_s": 1, "backoff_s": 2, "backoff_s_max": 10}

    assert worst(step).path_s == 6 + 2 + 4 + 8 + 10 + 10


def test_a_thousand_attempts_are_priced_at_once() -> None:
    assert worst({"name": "a", "attempts_max": 1000}).runs == 1000


def test_what_has_no_budget_is_unknown_and_not_free() -> None:
    found = worst({"name": "a"}, {"name": "b", "agent": "open"}, {"name": "c", "agent": "no-usd"})

    assert found.unknown == ("no-usd", "open")
    assert [line.tokens for line in found.lines] == [200, None, 10]
    assert [line.usd for line in found.lines] == [Decimal("0.02"), None, None]
    assert (found.tokens, found.usd) == (210, Decimal("0.02"))


def test_what_may_not_end_in_time_is_a_problem() -> None:
    step = {"name": "a", "undo": "undoer", "timeout_s": 100}
    found = worst(step, step | {"name": "b", "after": ["a"]}, deadline_s=300, undo_deadline_s=10)

    late, undo = found.problems
    assert late.startswith("the steps a -> b may take 6.7 min, longer than the deadline of 5 min")
    assert undo.startswith("undoing may take 6.7 min, longer than `undo_deadline_s`, which is 10 s")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.5, "0.5 s"),
        (90, "90 s"),
        (120, "2 min"),
        (5400, "90 min"),
        (86_400, "24 h"),
        (172_800, "2 d"),
        (31_622_400, "366 d"),
    ],
)
def test_a_duration_is_told_as_people_read_it(seconds: float, said: str) -> None:
    assert span(seconds) == said
