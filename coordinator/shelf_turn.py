"""Shelves within a turn of the orchestrator: what is kept, what is asked for, what is answered.

A shelf stands in the changelog of its home partition under `@shelf:<id>`. A case tells it by a
command, and is answered by an outcome of the agent `cache`: nothing is found as `failed`
(`cache_miss`), and the step goes on to its next link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from coordinator.effects import Recall, Retain, Work
from coordinator.fallback import MISS
from coordinator.keys import step_of
from coordinator.shelf import Place, next_due, place_of, recall, retain, tick
from coordinator.workflow import Plan
from events.broker import Record
from schemas.base import instant
from schemas.case import KeptOutput, Shelf
from schemas.commands import RecallOutput, RetainOutput, ShelfCommand
from schemas.lean_case import Case
from schemas.outcome import Failure, Outcome
from schemas.task import task_id_of
from schemas.workflow import CACHE

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn

MARK = "@shelf:"


def carry_out(turn: CaseTurn, case: Case, plan: Plan, effect: Recall | Retain) -> None:
    """Tell the shelf of what a step read."""
    work = effect.work
    place, state = _place(case, plan, work), work.state
    task_id = task_id_of(case.case_id, work.key, state.replay, state.iteration)
    command: RecallOutput | RetainOutput
    if isinstance(effect, Recall):
        command = RecallOutput(
            case_id=place.shelf_id,
            digest=place.digest,
            asker=case.case_id,
            task_id=task_id,
            attempt=state.attempt,
        )
    else:
        command = RetainOutput(
            case_id=place.shelf_id,
            digest=place.digest,
            output=state.output,
            confidence=1.0 if state.confidence is None else state.confidence,
            agent_version=state.agent_version,
        )
    ce_id = f"{task_id}:{state.attempt}:{command.ce_type.rpartition('.')[2]}"
    turn.records.append(turn.addressed(command, ce_id, case.event))


def _place(case: Case, plan: Plan, work: Work) -> Place:
    step = step_of(work.key)
    agent = plan.agents.get(plan.steps[step].agent or "")
    data = case.event.data if work.input is None else work.input
    return place_of(
        case.workflow,
        step,
        case.workflow_version,
        agent.version if agent is not None else "",
        case.event.tenant,
        data,
        dict(work.results or {}),
    )


# --- at the shelf


def command(turn: CaseTurn, home: int, given: ShelfCommand) -> None:
    """Keep an output on its shelf, or answer who asks for one."""
    shelf = _load(turn, home, given.case_id)
    limits = turn.world.limits.shelf
    if isinstance(given, RetainOutput):
        kept = KeptOutput(
            output=given.output,
            confidence=given.confidence,
            agent_version=given.agent_version,
            at=turn.now,
        )
        shelf, room = retain(shelf, given.digest, kept, limits)
        turn.count("caseworks_cache_total", end="kept" if room else "too_large")
        _put(turn, home, given.case_id, shelf)
        return
    found = recall(shelf, given.digest, turn.now, limits)
    turn.count("caseworks_cache_total", end="miss" if found is None else "hit")
    turn.records.append(_answer(turn, given, found))


def _answer(turn: CaseTurn, asked: RecallOutput, found: KeptOutput | None) -> Record:
    now = instant(turn.now)
    missing = Failure(kind=MISS, message="no output for this input is kept")
    outcome = Outcome(
        task_id=asked.task_id,
        case_id=asked.asker,
        agent=CACHE,
        attempt=asked.attempt,
        status="failed" if found is None else "done",
        output=None if found is None else found.output,
        confidence=1.0 if found is None else found.confidence,
        error=missing if found is None else None,
        agent_version="" if found is None else found.agent_version,
        started_at=now,
        finished_at=now,
    )
    return turn.addressed(outcome, f"{asked.task_id}:{asked.attempt}:{CACHE}")


def tick_shelf(turn: CaseTurn, partition: int, key: str) -> None:
    """Let go of what is too old."""
    shelf_id, limits = key.removeprefix(MARK), turn.world.limits.shelf
    shelf = _load(turn, partition, shelf_id)
    if shelf is None:
        return
    after = tick(shelf, turn.now, limits)
    if after is shelf:
        turn.idle.append((partition, key, next_due(shelf, limits)))
    else:
        _put(turn, partition, shelf_id, after)


def _load(turn: CaseTurn, partition: int, shelf_id: str) -> Shelf | None:
    """What cannot be read is an empty shelf: it only makes things slower."""
    data = turn.load_entity(partition, f"{MARK}{shelf_id}")
    try:
        return None if data is None else Shelf.from_json(data)
    except ValidationError:
        turn.count("caseworks_cache_total", end="unreadable")
        return None


def _put(turn: CaseTurn, partition: int, shelf_id: str, shelf: Shelf | None) -> None:
    changed = None
    if shelf is not None:
        changed = shelf.to_compact_json(), next_due(shelf, turn.world.limits.shelf)
    turn.entities[partition, f"{MARK}{shelf_id}"] = changed
