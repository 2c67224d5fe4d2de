"""Playing the demo on a stage: publish at a pace, watch, kill, and count at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from caseworks.client import Publisher, delivered, new_event
from caseworks.demo.material import DemoEvent
from caseworks.demo.tally import Came, Count, Measured, Name
from caseworks.scan import Follower, partition_counts, partitions_of, records, results_topics
from events.broker import Broker, Message

if TYPE_CHECKING:
    from caseworks.stage import Stage
    from events.settings import Settings

TAKE_S = 0.02

Shown = Callable[[Measured], None]
"""Shows how far a phase is; called often."""


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9 of a process once so many events of the phase are published."""

    program: str
    after: int


class Play:
    """Publishes and watches on one thread, and keeps the stage running meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        settings, broker = stage.settings, stage.system.broker
        self._publisher = Publisher(broker, settings)
        self._seen = Follower(
            broker, watched_topics(broker, settings), namespace=settings.namespace
        )
        self._phases: list[Measured] = []
        self._killed: list[str] = []

    def close(self) -> None:
        """Free the clients."""
        self._publisher.close()
        self._seen.close()

    @property
    def published(self) -> list[Name]:
        """Every event of every phase."""
        return [name for phase in self._phases for name in phase.sent]

    @property
    def killed(self) -> int:
        """How many processes were killed."""
        return len(self._killed)

    def phase(
        self,
        events: Sequence[DemoEvent],
        *,
        rate: float,
        timeout_s: float,
        kills: Sequence[Kill] = (),
        shown: Shown = lambda _phase: None,
        told: Callable[[str], None] = lambda _line: None,
    ) -> Measured:
        """Publish at *rate* events a second until all are answered or *timeout_s* is over.

        Raises `SetupError` when Kafka did not take an event.
        """
        phase = Measured()
        self._phases.append(phase)
        start = time.monotonic()
        waiting, dying = list(events), list(kills)
        while waiting or dying or not phase.complete:
            now = time.monotonic()
            if now - start > timeout_s:
                break
            due = len(events) - len(waiting)
            for event in waiting[: int((now - start) * rate) + 1 - due]:
                self._publish(phase, event)
            waiting = waiting[len(phase.sent) - due :]
            while dying and len(phase.sent) >= dying[0].after:
                self._kill(dying.pop(0), told)
            self._watch(TAKE_S)
            shown(phase)
        self._publisher.flush()
        return phase

    def watch_for(self, seconds: float) -> None:
        """Go on for a while: what comes too late or twice comes now."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._watch(TAKE_S)

    def _publish(self, phase: Measured, event: DemoEvent) -> None:
        made = new_event(
            event.type, event.data, id=event.id, source=event.source, subject=event.subject
        )
        phase.publish(event, time.monotonic())
        self._publisher.send(made)

    def _kill(self, kill: Kill, told: Callable[[str], None]) -> None:
        pid = self._stage.supervisor.kill(kill.program)
        self._killed.append(kill.program)
        told(f"kill -9 {pid} ({kill.program})")

    def _watch(self, timeout_s: float) -> None:
        for message in self._seen.take(timeout_s):
            _note(message, self._phases, time.monotonic())
        self._stage.turn(0.0)


def _note(message: Message, phases: Iterable[Measured], now: float) -> None:
    name = name_of(message)
    if name is None:
        return
    if message.topic.endswith(".dlq"):
        for phase in phases:
            phase.dead_letter(name)
        return
    found = delivered(message)
    result = found.result
    came = Came(found.type, result.status, result.output, result.confidence, now)
    for phase in phases:
        phase.result(name, came)


def name_of(message: Message) -> Name | None:
    """The event that a record is about; `None` if it is about none that can be told."""
    if ".results." not in message.topic:
        source, event_id = message.header("ce_source"), message.header("ce_id")
        return None if source is None or event_id is None else (source, event_id)
    try:
        event = delivered(message).result.event
    except ValidationError:
        return None
    return event.source, event.id


def watched_topics(broker: Broker, settings: Settings) -> list[str]:
    """Where an event may end: results and the events' dead letters."""
    counts = partition_counts(broker)
    return [*results_topics(counts, settings.topics), settings.topics.dlq(settings.topics.events)]


def count_from_topics(broker: Broker, settings: Settings) -> Count:
    """Read everything from the beginning with a fresh committed reader that knows nothing."""
    topics = [settings.topics.events, *watched_topics(broker, settings)]
    count = Count()
    with closing(broker.reader()) as reader:
        for source in partitions_of(partition_counts(broker), topics):
            for message in records(reader, source):
                _count(count, message, settings)
    return count


def _count(count: Count, message: Message, settings: Settings) -> None:
    name = name_of(message)
    if name is None:
        return
    if message.topic == settings.topics.events:
        count.events[name] += 1
    elif message.topic.endswith(".dlq"):
        count.dead[name] += 1
    else:
        found = delivered(message)
        amends = found.result.amends is not None
        count.result(name, found.type, found.result.status, amends=amends)
