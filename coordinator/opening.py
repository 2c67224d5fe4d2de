"""A case as it begins: its time, whether it is held, and whose flock it asks."""

from __future__ import annotations

from coordinator import coalescing
from coordinator.draft import Draft
from coordinator.effects import Tune
from coordinator.keys import WAITING
from coordinator.surroundings import QUIET, Surroundings
from coordinator.workflow import Plan
from schemas.commands import Opened
from schemas.lean_case import Case, Following, StoredEvent


def open_draft(command: Opened, now: float, plan: Plan, around: Surroundings = QUIET) -> Draft:
    """A new case for an accepted event, with every step waiting."""
    event = command.event
    held = coalescing.held_until(event, command.case_id, plan, now)
    deadline = (held or now) + plan.spec.deadline_s
    if event.deadline is not None:
        deadline = min(deadline, event.deadline.timestamp())
    case = Case(
        case_id=command.case_id,
        workflow=plan.name,
        workflow_version=plan.spec.version,
        event=StoredEvent.of(event),
        opened=now,
        deadline=deadline,
        steps=dict.fromkeys(plan.order, WAITING),
        following=Following(flock=command.flock) if command.flock is not None else None,
        held=held,
    )
    draft = Draft(case, now, plan, around=around)
    draft.changed = True
    draft.effects += [Tune(kind, on=True) for kind in plan.waits]
    return draft
