"""Which cases count as closed in time."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pytest

from coordinator.case_turn import CaseTurn
from events.broker import Message, TopicPartition
from schemas.commands import Cancel
from tests.unit.machine import START, diamond, event, opened, outcome
from tests.unit.test_orchestrator import PARTITIONS, Desk


class Counting(Desk):
    """Adds up whether cases closed in time."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.closed: Counter[str] = Counter()

    def turn(self, *messages: Message, promote: bool = True) -> CaseTurn | None:
        turn = super().turn(*messages, promote=promote)
        for (name, labels), value in turn.counts.items() if turn is not None else ():
            if name == "caseworks_cases_closed_total":
                assert dict(labels)["workflow"] == "ticket"
                self.closed[dict(labels)["in_time"]] += int(value)
        return turn


def slow(desk: Counting, seconds: float) -> None:
    """A case that closes so long after its event."""
    command = opened(desk.plan, event("slow"))
    desk.tell(command)
    for step in ("triage", "billing", "kb", "reply"):
        if step == "reply":
            desk.now = command.event.time.timestamp() + seconds
        case = desk.case(command.case_id)
        assert case is not None
        desk.tell(outcome(case, step))


@pytest.mark.parametrize(
    ("in_time_s", "seconds", "said"),
    [(None, 599, "yes"), (10.0, 9, "yes"), (10.0, 11, "no")],
)
def test_a_case_is_in_time_before_its_deadline_or_within_the_time_that_was_set(
    in_time_s: float | None, seconds: float, said: str
) -> None:
    desk = Counting(in_time_s=in_time_s)

    slow(desk, seconds)

    assert desk.closed == {said: 1}


def test_a_case_that_expires_is_late_and_a_cancelled_one_is_neither() -> None:
    desk = Counting()
    command = opened(desk.plan, event("cancelled"))
    desk.tell(command)
    desk.tell(Cancel(case_id=command.case_id, reason="no need"))
    assert desk.closed == {}

    desk.tell(opened(desk.plan, event("late")))
    desk.now = START + 700
    desk.turn()

    assert desk.closed == {"no": 1}


@pytest.mark.parametrize(("ends", "said"), [("escalate", "yes"), ("fail", "no")])
def test_a_person_who_gets_it_in_time_is_an_answer_and_a_failure_is_none(
    ends: Literal["escalate", "fail"], said: str
) -> None:
    desk = Counting()
    desk.plan = diamond(on_dead_letter=ends)
    desk.it = desk.new()
    for partition in range(PARTITIONS):
        desk.it.adopt(TopicPartition("cw.inbox", partition), 0, START)
    command = opened(desk.plan)
    desk.tell(command)
    for step in ("triage", "billing", "kb", "reply"):
        case = desk.case(command.case_id)
        assert case is not None
        desk.tell(outcome(case, step, "failed" if step == "reply" else "done"))

    assert desk.closed == {said: 1}
