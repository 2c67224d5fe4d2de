"""Flocks within a turn of the orchestrator: what cases ask them, and what they tell cases.

A flock stands in the changelog of its home partition under `@flock:<id>`: identical events meet
there, while each of their cases lives in its own home partition, where cancellations find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pydantic import ValidationError

from coordinator.effects import AskFlock, LeaveFlock
from coordinator.flock import Counted, FlockEffect, Tell, apply, next_due, tick
from coordinator.workflow import Plan
from events.errors import PayloadError
from schemas.base import instant
from schemas.case import Flock
from schemas.commands import FlockCommand, Flocked, Join, Leave
from schemas.lean_case import Case

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn

MARK = "@flock:"


def carry_out(turn: CaseTurn, case: Case, plan: Plan, effect: AskFlock | LeaveFlock) -> None:
    """Tell the flock of a case."""
    if case.following is None:
        return
    home = case.following.flock
    said: FlockCommand
    if isinstance(effect, AskFlock):
        window_s, until = plan.spec.coalesce_window_s, instant(case.deadline)
        said = Join(case_id=home, member=case.case_id, until=until, window_s=window_s)
    else:
        said = Leave(case_id=home, member=case.case_id, answer=effect.answer)
    ce_id = f"{case.case_id}:{said.ce_type.rpartition('.')[2]}:{case.published}"
    turn.records.append(turn.addressed(said, ce_id, case.event))


def command(turn: CaseTurn, home: int, given: FlockCommand) -> None:
    """Apply one command to its flock. Raises `PayloadError`."""
    before = _load(turn, home, given.case_id)
    after, effects = apply(before, given, turn.now)
    _put(turn, home, given.case_id, after)
    _tell(turn, effects)


def tick_flock(turn: CaseTurn, partition: int, key: str) -> None:
    """Its time has come."""
    flock_id = key.removeprefix(MARK)
    try:
        before = _load(turn, partition, flock_id)
    except PayloadError:
        turn.entities[partition, key] = None  # its cases end by their own deadlines
        turn.count("caseworks_outcomes_ignored_total", why="cannot_tick")
        return
    if before is None:
        return
    after, effects = tick(before, turn.now)
    if after is before:
        turn.idle.append((partition, key, next_due(before)))
    else:
        _put(turn, partition, flock_id, after)
    _tell(turn, effects)


def _load(turn: CaseTurn, partition: int, flock_id: str) -> Flock | None:
    data = turn.load_entity(partition, f"{MARK}{flock_id}")
    try:
        return None if data is None else Flock.from_json(data)
    except ValidationError as error:
        text = f"the flock cannot be read: {error.errors(include_url=False)[0]['msg']}"
        raise PayloadError("cannot_apply", text) from None


def _put(turn: CaseTurn, partition: int, flock_id: str, flock: Flock | None) -> None:
    changed = None if flock is None else (flock.to_compact_json(), next_due(flock))
    turn.entities[partition, f"{MARK}{flock_id}"] = changed


def _tell(turn: CaseTurn, effects: list[FlockEffect]) -> None:
    for effect in effects:
        match effect:
            case Tell(case_id, leader, answer):
                said = Flocked(case_id=case_id, leader=leader, answer=answer)
                end = "answered" if answer is not None else "told"
                ce_id = f"{case_id}:{leader}:{end}"
                turn.records.append(turn.addressed(said, ce_id))
            case Counted(end):
                turn.count("caseworks_coalesced_total", end=end)
            case _:
                assert_never(effect)
