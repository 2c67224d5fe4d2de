"""What people and services do meanwhile: publish again, cancel, replay dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic_core import to_json

from caseworks.dead_mail import Dead, replay_record
from events.broker import Record, TopicPartition
from events.dead_letters import read_letter
from events.envelope import event_record, record_of
from events.partitioner import partition_of
from events.settings import Settings
from events.sim_driver import SimDriver
from schemas.commands import Cancel
from schemas.event import Event

LOOKS_S = (3.0, 9.0, 16.0)
"""When somebody looks through the dead letters, about."""


@dataclass(frozen=True, slots=True)
class Clients:
    """How often, per event or dead letter."""

    republish: float = 0.0
    """The same event comes again, some seconds later."""
    cancel: float = 0.0
    replay: float = 0.0
    """A dead letter is replayed, half of the time twice."""
    misdirect: float = 0.0
    """A command goes to another partition than its case's home."""


CALM = Clients()
BUSY = Clients(republish=0.3, cancel=0.06, replay=0.6, misdirect=0.3)
"""As often as a run of five events bears it."""


class Crowd:
    """The clients of one run; what they do is drawn when the run is set up."""

    def __init__(self, driver: SimDriver, settings: Settings, clients: Clients) -> None:
        self._driver, self._settings, self._clients = driver, settings, clients
        self._dice = driver.dice
        self._producer = driver.broker.producer()
        self._reader = driver.broker.reader()
        self._seen: dict[TopicPartition, int] = {}

    def come(self, events: Sequence[Event]) -> None:
        """Publish the events, and let the rest happen when its time comes."""
        topic, dice, clients = self._settings.topics.events, self._dice, self._clients
        for number, event in enumerate(events):
            record = event_record(event, topic, to_json(event.data))
            self._later(0.1 * number, f"event {event.id} is published", record)
            if clients.republish and dice.rng.random() < clients.republish:
                delay_s = dice.between(0.1, 20.0)
                self._later(delay_s, f"event {event.id} is published again", record)
            if clients.cancel and dice.rng.random() < clients.cancel:
                self._later(
                    dice.between(0.1, 6.0), f"case {event.id} is cancelled", self._cancel(event)
                )
        if clients.replay:
            for look_s in LOOKS_S:
                self._driver.after(look_s * dice.between(0.5, 1.5), "", self._look)

    def _later(self, delay_s: float, what: str, record: Record) -> None:
        self._driver.after(delay_s, what, partial(self._producer.produce, record))

    def _cancel(self, event: Event) -> Record:
        return record_of(
            Cancel(case_id=event.case_id, reason="the simulation says so"),
            Cancel.ce_type,
            topic=self._settings.topics.inbox,
            key=event.case_id,
            ce_id=f"{event.case_id}:cancel",
            source="caseworks/check",
            now=self._driver.now,
            partition=self._home(event.case_id),
        )

    def _home(self, case_id: str) -> int:
        count = self._settings.inbox_partitions
        astray = self._clients.misdirect and self._dice.rng.random() < self._clients.misdirect
        return (partition_of(case_id.encode(), count) + bool(astray)) % count

    def _look(self) -> None:
        """Replay some of the dead letters that came since the last look."""
        topics, broker = self._settings.topics, self._driver.broker
        for name, topic in broker.cluster.topics.items():
            if not (name.startswith(topics.tasks("")) and name.endswith(".dlq")):
                continue
            for log in topic.logs:
                start = self._seen.get(log.source, 0)
                found = self._reader.read(log.source, start, 1000)
                self._seen[log.source] = found.next_offset
                for message in found.messages:
                    if self._dice.rng.random() < self._clients.replay:
                        self._replay(Dead(message, read_letter(message)))

    def _replay(self, dead: Dead) -> None:
        if dead.letter.case_id is None or dead.letter.task_id is None:
            return
        count = self._settings.inbox_partitions
        record = replay_record(dead, self._settings, count, self._driver.now, "check")
        for _ in range(1 + self._dice.pick(2)):
            to = self._home(dead.letter.case_id)
            self._driver.tell("clients", f"replay {dead.letter.task_id}")
            self._producer.produce(
                Record(record.topic, record.key, record.value, record.headers, to)
            )
