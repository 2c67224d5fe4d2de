"""The check must be able to fail: each kind of harm, told to the accountant, is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.accountant import Accountant
from tests.chaos.workload import noop

NEEDS = {"billing": ("triage",), "kb": ("triage",), "reply": ("billing", "kb")}
STEPS = ("triage", "billing", "kb", "reply")
Harm = Callable[[Accountant], None]


def body(event_id: str, **changed: object) -> dict[str, object]:
    """A result as it should be."""
    steps = {step: {"status": "done"} for step in STEPS}
    output = {"role": "reply", "case": event_id}
    return {"status": "completed", "steps": steps, "output": output, **changed}


def told(*events: str) -> Accountant:
    """An account of events that went well, and of one that was published twice."""
    accountant = Accountant(set(events), NEEDS, noop().right)
    for event in [*events, events[0]]:
        accountant.event(event)
        accountant.opened(f"case-{event}", event)
    for event in events:
        for step in STEPS:
            accountant.task(f"case-{event}:{step}", 1)
            accountant.outcome(f"case-{event}:{step}", done=True)
        accountant.result(event, body(event))
    return accountant


def test_what_went_well_is_clean() -> None:
    verdict = told("a", "b").verdict()
    assert verdict.clean
    assert (verdict.events, verdict.results) == (2, 2)


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        ("doubled_results", lambda a: a.result("a", body("a"))),
        ("doubled_tasks", lambda a: a.task("case-a:kb", 1)),
        ("doubled_opens", lambda a: a.opened("case-b", "b")),
        ("skipped", lambda a: a.event("a")),
        ("out_of_order", lambda a: a.outcome("case-c:triage", done=True)),
        ("bad_results", lambda a: a.result("a", body("b"))),
        ("dead_letters", lambda a: a.dead_letter("tasks.kb.dlq", "case-a:kb")),
        ("strangers", lambda a: a.result("c", body("c"))),
    ],
)
def test_harm_is_found_and_named(kind: str, harm: Harm) -> None:
    accountant = told("a", "b")
    harm(accountant)
    verdict = accountant.verdict()
    assert verdict.broken()[kind] == 1
    assert verdict.examples[kind]
    assert not verdict.clean


def test_a_second_attempt_is_another_task() -> None:
    accountant = told("a")
    accountant.task("case-a:kb", 2)
    assert accountant.verdict().clean


def test_an_event_that_never_became_a_command_is_lost_and_one_without_a_result_hangs() -> None:
    accountant = Accountant({"a", "b"}, NEEDS, noop().right)
    for event in "ab":
        accountant.event(event)
    accountant.opened("case-b", "b")
    verdict = accountant.verdict()
    assert (verdict.lost, verdict.hung) == (1, 1)
    assert verdict.examples["lost"] == ["a"]
    assert verdict.examples["hung"] == ["b"]


def test_an_event_that_was_acknowledged_and_is_on_no_topic_is_lost() -> None:
    assert Accountant({"a"}, NEEDS, noop().right).verdict().lost == 1


def test_what_is_said_of_a_step_before_the_steps_it_reads_is_out_of_order() -> None:
    accountant = Accountant({"a"}, NEEDS, noop().right)
    accountant.opened("case-a", "a")
    for step in ("triage", "billing", "reply"):
        accountant.outcome(f"case-a:{step}", done=True)
    assert accountant.verdict().examples["out_of_order"] == ["case-a:reply before kb"]


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "degraded"},
        {"output": None},
        {"output": {"role": "kb", "case": "a"}},
        {"steps": {"triage": {"status": "done"}}},
    ],
)
def test_a_result_that_is_not_the_answer_to_its_event_is_bad(changed: dict[str, object]) -> None:
    assert noop().right("a", body("a"))
    assert not noop().right("a", body("a", **changed))


def test_a_correction_that_nobody_asked_for_is_harm() -> None:
    accountant = told("a", "b")
    accountant.result("a", body("a", amends="case-a:1"))
    assert accountant.verdict().doubled_results == 1


def test_what_a_replay_may_bring_is_no_harm() -> None:
    accountant = told("a", "b")
    accountant.mortal, accountant.amends_max = ("tasks.kb.dlq",), 1
    accountant.dead_letter("tasks.kb.dlq", "case-a:kb")
    accountant.result("a", body("a", amends="case-a:1"))
    assert accountant.verdict().clean
    assert accountant.verdict().amended == 1
    accountant.result("a", body("a", amends="case-a:2"))
    assert accountant.verdict().doubled_results == 1
