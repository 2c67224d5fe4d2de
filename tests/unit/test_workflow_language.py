"""The workflow language: what each key may hold, and what a running case survives."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.workflow import (
    PROBLEMS_MAX,
    compile_all,
    compile_workflow,
    incompatibilities,
)
from coordinator.workflow_problems import FAN_MAX, problems_of
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import StepSpec, WorkflowSpec

AGENTS = {name: AgentSpec(name=name) for name in ("worker", "senior", "spare", "undoer")}
WAIT = {"event": "paid", "timeout_s": 60}
APPROVAL = {"of": "a"}


def step(name: str, *after: str, **fields: Any) -> StepSpec:
    given = {"name": name, "after": after, "agent": "worker"} | fields
    return StepSpec.model_validate(given)


def spec(*steps: StepSpec, **fields: Any) -> WorkflowSpec:
    given = {"name": "w", "on": ("e",), "steps": [s.model_dump() for s in steps]} | fields
    return WorkflowSpec.model_validate(given)


def told(*steps: StepSpec, **fields: Any) -> str:
    return "\n".join(problems_of(spec(*steps, **fields), AGENTS))


A, B = step("a"), step("b")
EVERYTHING = (
    A,
    step("b", "a", map={"over": "data.lines", "concurrency": 5}, fallback="spare", undo="undoer"),
    step("c", "a", loop={"until": "output.good || iteration > `3` || c.x"}, escalate_to="senior"),
    step("d", "b", "c", join="any", when="data.total > `100` && event.subject && a.ok"),
    step("paid", "d", agent=None, wait=WAIT),
    step("confirm", "paid", agent=None, approval={"of": "{d: d, a: a}"}),
    step("f", "confirm", inputs={"order": "data", "by": "confirm"}, review_below=0.5),
)


def test_a_workflow_may_use_everything_at_once() -> None:
    plan = compile_workflow(spec(*EVERYTHING), AGENTS)

    assert plan.order == ("a", "b", "c", "d", "paid", "confirm", "f")
    assert set(plan.waits) == {"paid"}
    assert plan.readers["a"] == ("b", "c")
    assert plan.sinks == ("f",)
    assert plan.spec_of("b:17") is plan.spec_of("b") is plan.steps["b"]
    assert set(plan.agents) >= {"worker", "senior", "spare", "undoer"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((step("a", agent=None),), "nobody works there: give it an `agent`, a `wait`"),
        ((step("a", wait=WAIT),), "`agent` and `wait`: keep one"),
        ((A, step("b", "a", agent=None, wait=WAIT, approval=APPROVAL)), "`wait` and `approval`"),
        ((step("a", agent=None, wait=WAIT, fallback="spare"),), "`fallback` is for agents"),
        ((step("a", agent=None, wait=WAIT, undo="undoer"),), "and this is a wait: remove it"),
        ((step("a", agent=None, wait=WAIT, map={"over": "data.x"}),), "`map` is for agents"),
        ((step("a", agent=None, wait=WAIT, loop={"until": "data"}),), "`loop` is for agents"),
        ((step("a", agent=None, wait=WAIT, inputs={"x": "data"}),), "`inputs` is for agents"),
        (
            (A, step("b", "a", agent=None, approval=APPROVAL, review_below=0.4)),
            "`review_below` is for agents, and this is an approval",
        ),
        ((step("a", map={"over": "data"}, loop={"until": "data"}),), "`map` and `loop`: keep one"),
        ((A, step("b", "a", join="any")), "`join: any` needs at least two steps"),
        ((step("a", undo="nobody"),), "unknown undo 'nobody' (known: senior, spare"),
        ((step("a", escalate_to="nobody"),), "unknown escalate_to 'nobody'"),
        ((step("a", escalate_to="worker"),), "its escalate_to is its own agent"),
        ((step("a", undo="worker"),), "its undo is its own agent"),
        ((step("a", escalate_to="spare", fallback="spare"),), "its escalate_to is its fallback"),
        *(((step(name),), f"expressions use the name {name!r}") for name in ("event", "item")),
        ((A, step("b", "a", "a")), "has 'a' twice in `after`"),
    ],
)
def test_what_does_not_fit_together_is_refused(steps: tuple[StepSpec, ...], said: str) -> None:
    assert said in told(*steps)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (step("c", "a", when="b.x"), "`when` reads 'b', which need not have ended: add 'b'"),
        (step("c", "a", when="nope"), "`when` reads 'nope', which is no step of this workflow"),
        (step("c", "a", when="c.x"), "reads 'c', the step itself"),
        (step("c", "a", when="output"), "reads 'output', which only `loop.until` knows"),
        (step("c", inputs={"order": "a.x"}), "`inputs.order` reads 'a'"),
        (step("c", map={"over": "b.lines"}), "`map.over` reads 'b'"),
        (step("c", loop={"until": "b"}), "`loop.until` reads 'b'"),
        (step("c", agent=None, approval={"of": "a"}), "`approval.of` reads 'a'"),
        (step("c", "a", when="a."), "`when`: expression 'a.': column 3"),
        (step("c", "a", when="shout(a)"), "unknown function shout()"),
    ],
)
def test_an_expression_reads_only_what_has_ended_before(last: StepSpec, said: str) -> None:
    assert said in told(A, B, last)


def test_an_expression_may_read_a_step_further_up() -> None:
    assert not told(A, step("b", "a"), step("c", "b", when="a.x"))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((step("a", deadline_s=61),), "`deadline_s` is 61, later than the case's deadline of 60"),
        ((step("a", agent=None, wait=WAIT | {"timeout_s": 61}),), "`wait.timeout_s` is 61"),
        ((A, step("b", "a", agent=None, approval=APPROVAL)), "`approval.timeout_s` is 86400"),
        ((step("a", review_below=0.5),), "`review_timeout_s` is 86400"),
    ],
)
def test_nothing_is_awaited_beyond_the_deadline(steps: tuple[StepSpec, ...], said: str) -> None:
    assert said in told(*steps, deadline_s=60)


def test_fan_in_and_fan_out_are_bounded() -> None:
    many = [step(f"s{n}") for n in range(FAN_MAX + 1)]
    readers = [step(f"s{n}", "a") for n in range(FAN_MAX + 1)]

    assert "reads 65 steps, at most 64" in told(*many, step("all", *(s.name for s in many)))
    assert "65 steps read 'a', at most 64: use `map`" in told(A, *readers)
    inputs = {f"x{n}": "data" for n in range(FAN_MAX + 1)}
    assert told(step("a", inputs=inputs)) == "step 'a': 65 `inputs`, at most 64: split it"
    assert "reads 1000000 steps" in told(A, step("b", *["a"] * 1_000_000))


def test_ten_thousand_steps_are_refused_at_once() -> None:
    chain = (A, *(step(f"s{n}", f"s{n - 1}" if n else "a") for n in range(10_000)))

    assert told(*chain) == "10001 steps, at most 200 are allowed: split the workflow"


def test_an_error_tells_a_bounded_number_of_problems() -> None:
    wrong = spec(*(step(f"s{n}", agent="nobody") for n in range(PROBLEMS_MAX + 5)))

    with pytest.raises(DeclarationError, match=r"; and 5 more$"):
        compile_workflow(wrong, AGENTS)


def test_agents_are_not_asked_for_where_none_are_known() -> None:
    assert not problems_of(spec(step("a", agent="anybody")), None)


def test_no_step_waits_for_an_event_that_opens_a_workflow() -> None:
    waits = spec(step("a", agent=None, wait=WAIT))
    opens = spec(A, name="v", on=("paid",))

    with pytest.raises(DeclarationError, match="'w' waits for event type 'paid', which opens"):
        compile_all([waits, opens], AGENTS)


@pytest.mark.parametrize(
    "change",
    [
        step("b", "a", timeout_s=5, deadline_s=7, attempts_max=9, backoff_s=2),
        step("b", "a", fallback="spare", undo="undoer", optional=True, on_dead_letter="park"),
        step("b", "a", review_below=0.9, escalate_below=0.2, on_expiry="fail"),
    ],
)
def test_a_running_case_survives_other_limits(change: StepSpec) -> None:
    before, after = spec(A, step("b", "a")), spec(change, A, deadline_s=99, on=("e", "f"))

    assert incompatibilities(before, after) == ()


def test_a_running_case_survives_other_limits_of_what_it_waits_for() -> None:
    fields = {"agent": None, "wait": WAIT}
    before = spec(step("b", **fields), step("c", map={"over": "data"}))
    later = step("b", agent=None, wait=WAIT | {"timeout_s": 61, "on_timeout": "skip"})

    assert not incompatibilities(
        before, spec(later, step("c", map={"over": "data", "items_max": 9}))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (step("c", "a"), "step 'b' is gone"),
        (step("c", "a"), "step 'c' is new"),
        (step("b", "a", agent="spare"), "step 'b': `agent` changed"),
        (step("b"), "step 'b': `after` changed"),
        (step("b", "a", inputs={"x": "a"}), "step 'b': `inputs` changed"),
        (step("b", "a", when="a"), "step 'b': `when` changed"),
        (step("b", "a", join="any"), "step 'b': `join` changed"),
        (step("b", "a", map={"over": "a"}), "step 'b': `map` changed"),
        (step("b", "a", loop={"until": "a"}), "step 'b': `loop` changed"),
        (step("b", "a", agent=None, wait=WAIT), "step 'b': `wait` changed"),
        (step("b", "a", agent=None, approval=APPROVAL), "step 'b': `approval` changed"),
    ],
)
def test_a_running_case_does_not_survive_another_shape(change: StepSpec, said: str) -> None:
    assert said in incompatibilities(spec(A, step("b", "a")), spec(A, change))


def test_a_running_case_does_not_survive_the_loss_of_its_event_type() -> None:
    assert incompatibilities(spec(A, on=("e", "f")), spec(A)) == ("event type 'f' is gone",)
