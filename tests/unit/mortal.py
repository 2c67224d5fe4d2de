"""Processes that are killed just before a call of their transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caseworks.cli import run
from caseworks.cli.base import Deps
from caseworks.scan import partition_counts, partitions_of, records
from events.broker import Broker, Message, Record, TopicPartition, TransactionalProducer
from events.memory.broker import MemoryConnection
from events.settings import Settings
from tests.unit.command_line import NOW


@dataclass
class Mortal:
    """A broker's connection whose process is killed just before a call of its transactions."""

    inner: MemoryConnection
    calls_left: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def transactional(self, transactional_id: str) -> TransactionalProducer:
        made: TransactionalProducer = Doomed(self.inner.transactional(transactional_id), self)
        return made

    def spend(self) -> None:
        """One call more."""
        if self.calls_left == 0:
            self.inner.link.cut()
        self.calls_left -= 1


@dataclass
class Doomed:
    """Its transactional producer."""

    inner: TransactionalProducer
    life: Mortal

    def init(self) -> None:
        self.life.spend()
        self.inner.init()

    def begin(self) -> None:
        self.life.spend()
        self.inner.begin()

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        self.life.spend()
        self.inner.produce(records, marks)

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        self.life.spend()
        self.inner.send_offsets(positions, metadata)

    def commit(self) -> Mapping[TopicPartition, int]:
        self.life.spend()
        return self.inner.commit()

    def abort(self) -> None:
        self.life.spend()
        self.inner.abort()

    def close(self) -> None:
        self.inner.close()


def typed(broker: Any, *args: str, now: float = NOW) -> int:
    """A command on this broker, in a process of its own."""

    def connect(settings: Settings) -> Broker:
        found: Broker = broker
        return found

    return run(args, Deps(connect=connect, clock=lambda: now))


def all_of(broker: Broker, topic: str) -> list[Message]:
    reader = broker.reader()
    sources = partitions_of(partition_counts(broker), [topic])
    return [message for source in sources for message in records(reader, source)]


WHOLE = ("dlq", "replay", "--all", "--why", "fixed", "--yes", "--rate", "100000/s", "--name", "r")
