"""Correlations within a turn of the orchestrator: their commands, their time, their records.

A correlation stands in the changelog of its home partition under `@<correlation id>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pydantic import ValidationError
from pydantic_core import to_json

from coordinator.correlation import (
    CorrelationEffect,
    Deliver,
    Moved,
    Noted,
    NoWaiter,
    apply,
    next_due,
    tick,
)
from events.broker import Record
from events.dead_letters import letter_headers
from events.envelope import event_record
from events.errors import PayloadError
from schemas.base import instant
from schemas.commands import (
    CorrelationCommand,
    Listen,
    Signal,
    correlation_id_of,
)
from schemas.dead_letter import DeadLetter
from schemas.event import Event
from schemas.lean_case import Case, Correlation

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn

NO_WAITER = "no_waiter"
"""Reason of the dead letter of an event that no case waited for in time."""
AGAIN_S = 60.0
"""A correlation that cannot be read is looked at again after this."""


def command(turn: CaseTurn, home: int, given: CorrelationCommand) -> None:
    """Apply one command to its correlation. Raises `PayloadError`."""
    limits = turn.world.limits.correlation
    before = _load(turn, home, given.case_id)
    _move(turn, home, given.case_id, before, apply(before, given, turn.now, limits))


def tick_correlation(turn: CaseTurn, partition: int, key: str) -> None:
    """Let go of what is over."""
    correlation_id, limits = key.removeprefix("@"), turn.world.limits.correlation
    try:
        before = _load(turn, partition, correlation_id)
    except PayloadError:
        turn.count("caseworks_outcomes_ignored_total", why="cannot_tick")
        turn.idle.append((partition, key, turn.now + AGAIN_S))
        return
    if before is None:
        return
    after = tick(before, turn.now, limits)
    if after[0] is before:
        turn.idle.append((partition, key, next_due(before, limits)))
    else:
        _move(turn, partition, correlation_id, before, after)


def listen_record(turn: CaseTurn, case: Case, event_type: str, *, on: bool) -> Record:
    """A case listens from now on, or not any more, for the events of its own subject.

    It wants what happened since its own event did, however late that one was taken.
    """
    subject = case.event.subject or ""
    listen = Listen(
        case_id=correlation_id_of(event_type, subject),
        listener=case.case_id,
        type=event_type,
        subject=subject,
        since=min(case.event.time, instant(case.opened)),
        until=instant(case.deadline) if on else None,
    )
    ce_id = f"{case.case_id}:{event_type}:{case.published}:{'on' if on else 'off'}"
    return turn.addressed(listen, ce_id, case.event)


def _load(turn: CaseTurn, partition: int, correlation_id: str) -> Correlation | None:
    data = turn.load_entity(partition, f"@{correlation_id}")
    try:
        return None if data is None else Correlation.from_json(data)
    except ValidationError as error:
        text = f"the correlation cannot be read: {error.errors(include_url=False)[0]['msg']}"
        raise PayloadError("cannot_apply", text) from None


def _move(
    turn: CaseTurn, partition: int, correlation_id: str, before: Correlation | None, moved: Moved
) -> None:
    after, effects = moved
    records = [record for effect in effects for record in _carry_out(turn, effect)]
    if after is not before:
        due = None if after is None else next_due(after, turn.world.limits.correlation)
        changed = None if after is None or due is None else (after.to_compact_json(), due)
        turn.entities[partition, f"@{correlation_id}"] = changed
    turn.records += records


def _carry_out(turn: CaseTurn, effect: CorrelationEffect) -> list[Record]:
    match effect:
        case Deliver(case_id, event):
            turn.count("caseworks_correlated_total", end="delivered")
            return [_signal(turn, case_id, event)]
        case NoWaiter(event):
            turn.count("caseworks_correlated_total", end=NO_WAITER)
            return _given_back(turn, event)
        case Noted("too_many_listeners" as what):
            turn.count("caseworks_outcomes_ignored_total", why=what)
        case Noted(what):
            turn.count("caseworks_correlated_total", end=what)
        case _:
            assert_never(effect)
    return []


def _signal(turn: CaseTurn, case_id: str, event: Event) -> Record:
    signal = Signal(case_id=case_id, name=event.type, data=event.data, signal_id=event.case_id)
    return turn.addressed(signal, f"{case_id}:{event.case_id}", event)


def _given_back(turn: CaseTurn, event: Event) -> list[Record]:
    """A dead letter as intake writes it, so that its replay is the event.

    An event that opened a case of its own has its answer there.
    """
    if any(event.type in plan.spec.on for plan in turn.world.plans.values()):
        return []
    topics = turn.world.writer.topics
    topic = topics.dlq(topics.events)
    letter = DeadLetter(
        topic=topics.events,
        partition=-1,
        offset=-1,
        timestamp=event.time,
        group=topics.loop_group("orchestrator"),
        reason=NO_WAITER,
        error=f"no case waited for {event.type!r} with subject {event.subject!r} in time",
    )
    original = event_record(event, topic, to_json(event.data))
    turn.count("caseworks_dead_letters_total", topic=topic, reason=NO_WAITER)
    headers = (*original.headers, *letter_headers(letter))
    return [Record(topic, original.key, original.value, headers)]
