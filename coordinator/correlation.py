"""Who waits for the events of one type and subject: `apply` and `tick`, pure.

Theory of operation
-------------------
A *correlation* brings events to the cases that wait for them, whatever comes first. A case
listens from its opening to its end. An event is delivered to every case that listens for it; when
none does, it is kept for a while and given to the first that comes. What nobody wanted in time
becomes a dead letter: it is never dropped. An event older than a case is not meant for it.

Every event ends in exactly one way: delivered (and remembered, so that a duplicate changes
nothing), or given back as `NoWaiter` (and forgotten, so that its replay is taken again). All that
is remembered is bounded; a correlation with nothing left to remember is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.commands import Correlated, Listen
from schemas.event import Event
from schemas.lean_case import Correlation, KeptEvent

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CorrelationLimits:
    """The bounds of one correlation."""

    keep_s: float = 86_400.0
    """How long an event that nobody waits for is kept."""
    kept_max: int = 100
    kept_bytes_max: int = 2 * MIB
    """All kept events together, as JSON."""
    listeners_max: int = 1_000
    seen_max: int = 1_000
    """Delivered events that are remembered for the dedupe window."""
    dedupe_window_s: float = 7 * 86_400.0


DEFAULT_LIMITS = CorrelationLimits()


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the event to this case, as a signal."""

    case_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class NoWaiter:
    """Nobody wanted the event in time: a dead letter that can be replayed."""

    event: Event


@dataclass(frozen=True, slots=True)
class Noted:
    """To be counted."""

    what: Literal["kept", "duplicate", "too_many_listeners"]


CorrelationEffect = Deliver | NoWaiter | Noted
Moved = tuple[Correlation | None, list[CorrelationEffect]]


def apply(
    entity: Correlation | None, command: Correlated | Listen, now: float, limits: CorrelationLimits
) -> Moved:
    """The correlation after a command, and what it asks for. `now` in seconds since the epoch.

    `None` is a correlation that remembers nothing. The command must be of this correlation.
    """
    entity, effects = tick(entity, now, limits) if entity is not None else (None, [])
    match command:
        case Listen():
            current = entity or Correlation(type=command.type, subject=command.subject)
            after, more = _listened(current, command, now, limits)
        case Correlated():
            event = command.event
            current = entity or Correlation(type=event.type, subject=event.subject or "")
            after, more = _happened(current, event, now, limits)
    return _unless_empty(after), [*effects, *more]


def tick(entity: Correlation, now: float, limits: CorrelationLimits) -> Moved:
    """Forget what is over; the very same object when nothing is."""
    if now < next_due(entity, limits):
        return entity, []
    over = [kept for kept in entity.kept if kept.until <= now]
    after = entity.evolve(
        listeners={case: span for case, span in entity.listeners.items() if span[1] > now},
        kept=tuple(kept for kept in entity.kept if kept.until > now),
        seen={name: at for name, at in entity.seen.items() if at + limits.dedupe_window_s > now},
    )
    return _unless_empty(after), [NoWaiter(kept.event) for kept in over]


def next_due(entity: Correlation, limits: CorrelationLimits) -> float:
    """When something of it is over, in seconds since the epoch."""
    times = [until for _, until in entity.listeners.values()]
    times += [kept.until for kept in entity.kept]
    times += [at + limits.dedupe_window_s for at in entity.seen.values()]
    return min(times, default=0.0)


def _listened(entity: Correlation, command: Listen, now: float, limits: CorrelationLimits) -> Moved:
    listeners = {case: span for case, span in entity.listeners.items() if case != command.listener}
    until = command.until.timestamp() if command.until is not None else now
    if until <= now:
        return entity.evolve(listeners=listeners), []
    if len(listeners) >= limits.listeners_max:
        return entity, [Noted("too_many_listeners")]
    since = command.since.timestamp()
    listeners[command.listener] = (since, until)
    wanted = [kept.event for kept in entity.kept if since <= kept.event.time.timestamp()]
    left = tuple(kept for kept in entity.kept if kept.event.time.timestamp() < since)
    after = entity.evolve(listeners=listeners, kept=left)
    for event in wanted:
        after = _remembering(after, event, now, limits)
    return after, [Deliver(command.listener, event) for event in wanted]


def _happened(entity: Correlation, event: Event, now: float, limits: CorrelationLimits) -> Moved:
    name, time = event.case_id, event.time.timestamp()
    if name in entity.seen or any(kept.event.case_id == name for kept in entity.kept):
        return entity, [Noted("duplicate")]
    fitting = [case for case, (since, _) in entity.listeners.items() if since <= time]
    if fitting:
        after = _remembering(entity, event, now, limits)
        return after, [Deliver(case, event) for case in fitting]
    return _keep(entity, event, now, limits)


def _keep(entity: Correlation, event: Event, now: float, limits: CorrelationLimits) -> Moved:
    """Keep an event until its own deadline at the latest; what has no room is given back."""
    until = now + limits.keep_s
    if event.deadline is not None:
        until = min(until, event.deadline.timestamp())
    if until <= now:
        return entity, [NoWaiter(event)]
    kept = [*entity.kept, KeptEvent(event=event, until=until)]
    sizes = [len(each.event.to_json()) for each in kept]
    first = max(0, len(kept) - limits.kept_max)
    while first < len(kept) and sum(sizes[first:]) > limits.kept_bytes_max:
        first += 1
    over = [NoWaiter(each.event) for each in kept[:first]]
    return entity.evolve(kept=tuple(kept[first:])), [Noted("kept"), *over]


def _remembering(
    entity: Correlation, event: Event, now: float, limits: CorrelationLimits
) -> Correlation:
    seen = {**entity.seen, event.case_id: now}
    while len(seen) > limits.seen_max:
        del seen[next(iter(seen))]
    return entity.evolve(seen=seen)


def _unless_empty(entity: Correlation | None) -> Correlation | None:
    return entity if entity and (entity.listeners or entity.kept or entity.seen) else None
