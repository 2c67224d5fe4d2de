"""What a workflow may not be, and what it is told."""

from __future__ import annotations

import pytest

from coordinator.backoff import delay_s, fraction
from coordinator.workflow import STEPS_MAX, compile_all, compile_workflow
from events.errors import DeclarationError
from schemas.workflow import StepSpec, WorkflowSpec
from tests.unit.machine import AGENTS, diamond


def spec(*steps: StepSpec, on: tuple[str, ...] = ("e",), name: str = "w") -> WorkflowSpec:
    return WorkflowSpec(name=name, on=on, steps=steps)


def step(name: str, *after: str, agent: str = "triage", fallback: str | None = None) -> StepSpec:
    return StepSpec(name=name, agent=agent, after=after, fallback=fallback)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (spec(step("a", "b"), step("b", "a")), "a cycle among the steps a, b"),
        (spec(step("a", "missing")), "reads 'missing', which is no step"),
        (spec(step("a"), step("a")), "step 'a' stands twice"),
        (spec(step("a", agent="nobody")), "unknown agent 'nobody'"),
        (spec(step("a", fallback="nobody")), "unknown fallback 'nobody'"),
        (spec(step("a", fallback="triage")), "its fallback is its own agent"),
        (spec(), "it has no steps"),
        (spec(step("a"), on=()), "no event type opens it"),
        (spec(*(step(f"s{n}") for n in range(STEPS_MAX + 1))), "at most 200"),
    ],
)
def test_a_wrong_workflow_is_refused_with_the_place(bad: WorkflowSpec, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        compile_workflow(bad, AGENTS)


def test_two_workflows_for_one_event_type_are_refused() -> None:
    with pytest.raises(DeclarationError, match="'e' opens two workflows"):
        compile_all([spec(step("a")), spec(step("a"), name="v")], AGENTS)


def test_two_workflows_of_one_name_are_refused() -> None:
    with pytest.raises(DeclarationError, match="two workflows are named 'w'"):
        compile_all([spec(step("a")), spec(step("a"), on=("f",))], AGENTS)


def test_steps_come_in_an_order_that_respects_what_they_read() -> None:
    plan = diamond()

    assert plan.order == ("triage", "billing", "kb", "reply")
    assert plan.sinks == ("reply",)


def test_the_version_is_a_digest_of_the_workflow() -> None:
    assert diamond().spec.version == diamond().spec.version
    assert diamond().spec.version != diamond(optional=True).spec.version


def test_results_are_named_by_status_with_families() -> None:
    plain = spec(step("a"))
    named = plain.model_copy(update={"results": {"completed": "ticket.resolved"}})

    assert plain.result_type("expired") == "w.failed"
    assert named.result_type("degraded") == "ticket.resolved"


def test_backoff_grows_is_bounded_and_is_the_same_for_the_same_attempt() -> None:
    delays = [delay_s("c:a", attempt, 1.0, 8.0) for attempt in range(1, 50)]

    assert delays == [delay_s("c:a", attempt, 1.0, 8.0) for attempt in range(1, 50)]
    assert all(0 <= delay <= 8.0 for delay in delays)
    assert 0 <= fraction("c:a", 1) < 1
