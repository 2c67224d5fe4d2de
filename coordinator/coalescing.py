"""What a case does before its steps begin: it is held for its hours, and asks its flock.

A case that is held or follows is `waiting`, and its `reason` says for what. Cancelled or expired it
ends like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.effects import AskFlock
from coordinator.workflow import Plan
from schemas.base import instant
from schemas.case import Answer
from schemas.commands import Flocked
from schemas.event import Event
from schemas.lean_case import CLOSED

if TYPE_CHECKING:
    from coordinator.draft import Draft
    from coordinator.states import CaseEvent

_CLOSES: dict[str, CaseEvent] = {
    "completed": "complete",
    "degraded": "degrade",
    "escalated": "escalate",
}


def held_until(event: Event, case_id: str, plan: Plan, now: float) -> float | None:
    """When a deferred case may begin, if not now.

    One whose own deadline comes before that is not held: it would only expire.
    """
    if event.priority != "deferred" or plan.off_peak is None:
        return None
    start = plan.off_peak.start_for(case_id, now)
    if start is None or (event.deadline is not None and event.deadline.timestamp() <= start):
        return None
    return start


def begin(draft: Draft) -> None:
    """The case is open: it waits for its hours, else for its flock, else it works."""
    if draft.held is not None:
        return
    if draft.following is not None and draft.following.role == "asks":
        draft.effects.append(AskFlock())
    else:
        draft.advance()


def release(draft: Draft) -> None:
    """The hours for which the case was held have come."""
    draft.held = None
    draft.changed = True
    if not draft.idle and draft.status == "waiting":
        draft.shift("resume", None)
    begin(draft)


def told(draft: Draft, command: Flocked) -> None:
    """The flock says whom the case follows, or what that one ended with."""
    following, leader = draft.following, command.leader
    if draft.case.status in CLOSED:
        draft.ignore("closed_case")
    elif following is None or following.role == "leads" or draft.status == "undoing":
        draft.ignore("stale")
    elif leader == draft.case.case_id:
        draft.following = following.evolve(role="leads", leader=None)
        draft.changed = True
        if draft.status == "waiting":
            draft.shift("resume", None)
        draft.advance()
    elif command.answer is not None:
        draft.following = following.evolve(role="follows", leader=leader)
        draft.answer = command.answer
        draft.close(_CLOSES[command.answer.status], command.answer.reason)
    elif (following.role, following.leader) == ("follows", leader):
        draft.ignore("stale")
    else:
        draft.following = following.evolve(role="follows", leader=leader)
        draft.changed = True


def answer_of(draft: Draft) -> Answer | None:
    """What those who follow may have of a case that has just been closed.

    A case with a dead letter has no answer yet: its replay is about its own event only.
    """
    from coordinator.result import result_of

    following, status = draft.following, draft.status
    if following is None or following.role != "leads" or draft.dead_letters:
        return None
    if status not in ("completed", "degraded", "escalated"):
        return None
    said = result_of(draft)
    return Answer(status=status, output=said.output, confidence=said.confidence, reason=said.reason)


def leader_of(draft: Draft) -> str | None:
    """Whose result this is, if it is not the case's own."""
    following = draft.following
    return following.leader if following is not None and draft.answer is not None else None


def reason_of(draft: Draft) -> str:
    """What the case waits for, for people."""
    if draft.held is not None:
        return f"held for its off-peak window until {instant(draft.held):%Y-%m-%d %H:%M:%S}Z"
    leader = draft.following.leader if draft.following is not None else None
    if leader is None:
        return "asks whether an identical event is at work"
    return f"waits for the result of an identical event, case {leader}"
