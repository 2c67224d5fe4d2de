"""What contract tests do again and again: topics and names of their own, polling with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

import confluent_kafka as ck

from events.broker import (
    Broker,
    Consumer,
    ConsumerSpec,
    LogReader,
    Message,
    Record,
    Taken,
    TopicPartition,
    TransactionalProducer,
)
from events.errors import CaseworksError, UnstableError
from events.memory import MemoryBroker
from events.topics import TopicSpec

PATIENCE_S = 30.0


class Bench:
    """One test's corner of a broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.admin = broker.admin()
        self.producer = broker.producer()
        self.reader: LogReader = broker.reader()
        self.group = f"group-{uuid4().hex[:12]}"
        self._closers: list[Callable[[], None]] = [
            self.producer.close,
            self.reader.close,
            self.admin.close,
        ]

    def close(self) -> None:
        for close in reversed(self._closers):
            with suppress(CaseworksError):  # a fenced client may refuse its good-bye
                close()

    # --- making

    def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        spec = TopicSpec(f"topic-{uuid4().hex[:12]}", "", partitions, "", dict(config or {}))
        self.admin.create([spec])
        return spec.name

    def consumer(self, *topics: str, instance: str | None = None, paused: bool = False) -> Consumer:
        spec = ConsumerSpec(self.group, topics, instance, paused_on_assign=paused)
        consumer = self.broker.consumer(spec)
        self._closers.append(consumer.close)
        return consumer

    def transactional(self, name: str | None = None) -> TransactionalProducer:
        producer = self.broker.transactional(name or f"tx-{uuid4().hex[:12]}")
        self._closers.append(producer.close)
        producer.init()
        return producer

    # --- doing

    def trim(self, source: TopicPartition, first: int) -> None:
        """Delete what stands before an offset, as retention does."""
        if isinstance(self.broker, MemoryBroker):
            self.broker.trim(source, first)
            return
        from confluent_kafka.admin import AdminClient

        bootstrap = self.broker.bootstrap  # type: ignore[attr-defined] # of KafkaBroker
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for future in admin.delete_records([ck.TopicPartition(*source, first)]).values():
            future.result()

    def produce(self, *records: Record) -> None:
        """Produce and wait for the acknowledgements."""
        errors: list[Exception | None] = []
        for record in records:
            self.producer.produce(record, errors.append)
        assert self.producer.flush(PATIENCE_S) == 0
        assert errors == [None] * len(records)

    def write(self, producer: TransactionalProducer, *records: Record) -> None:
        """One committed transaction."""
        producer.begin()
        producer.produce(records)
        producer.commit()

    def until(self, condition: Callable[[], bool], *consumers: Consumer) -> list[Message]:
        """Take from all consumers in turn until the condition holds; what they brought."""
        deadline = time.monotonic() + PATIENCE_S
        found: list[Message] = []
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
            for consumer in consumers:
                found += consumer.take(100, 0.05).messages
            if not consumers:
                time.sleep(0.02)
        return found

    def take(self, consumer: Consumer, n: int) -> list[Message]:
        """Exactly the next `n` messages; fails when more than that came with them."""
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < n:
            assert time.monotonic() < deadline, f"{len(found)} of {n} messages"
            found += consumer.take(n - len(found), 0.2).messages
        return found

    def nothing(self, consumer: Consumer, times: int = 3) -> bool:
        """Whether some takes in a row bring nothing."""
        return not any(consumer.take(100, 0.1).messages for _ in range(times))

    def assigned(self, consumer: Consumer, *others: Consumer, n: int) -> Taken:
        """Take until the consumer owns `n` partitions; the take that says so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, f"never owned {n} partitions"
            taken = consumer.take(100, 0.05)
            if len(taken.assignment) == n:
                return taken
            for other in others:
                other.take(100, 0.05)

    def shared(self, consumers: Sequence[Consumer], owned: Sequence[int]) -> list[Taken]:
        """Take in turn until these own so many partitions each, all at once."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, f"never owned {owned}"
            taken = [consumer.take(100, 0.05) for consumer in consumers]
            if [len(each.assignment) for each in taken] == list(owned):
                return taken

    def committed(self, consumer: Consumer, source: TopicPartition) -> int | None:
        """The committed position, when no transaction hides it any more."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return consumer.committed([source])[source]
            except UnstableError:
                assert time.monotonic() < deadline, "never became stable"

    def read(self, source: TopicPartition, offset: int = 0) -> list[Message]:
        """All committed records up to the stable offset as it is now."""
        end = self.reader.end(source, committed=True)
        found: list[Message] = []
        while offset < end:
            piece = self.reader.read(source, offset, 100)
            found += piece.messages
            assert piece.next_offset > offset, "reading does not go on"
            offset = piece.next_offset
        return found


def keys(messages: Iterable[Message]) -> list[bytes | None]:
    return [message.key for message in messages]


def values(messages: Iterable[Message]) -> list[bytes | None]:
    return [message.value for message in messages]
