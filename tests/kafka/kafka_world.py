"""A namespace on a real broker, and what the tests of the Kafka adapter share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, TypeVar
from uuid import uuid4

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from events.broker import Consumer, ConsumerSpec, Message, Record, Taken, TopicPartition
from events.kafka import KafkaBroker
from events.topics import TopicSpec

WAIT_S = 20.0
NOWHERE = "127.0.0.1:1"


class Closable(Protocol):
    def close(self) -> None: ...


Client = TypeVar("Client", bound=Closable)


class World:
    """A namespace on the broker, and everything to be closed at the end."""

    def __init__(self, bootstrap: str, stack: ExitStack) -> None:
        self.bootstrap = bootstrap
        self.broker = KafkaBroker(bootstrap)
        self.ns = f"a{uuid4().hex[:10]}"
        self._stack = stack
        self.admin = self.closing(self.broker.admin())
        self._producer = self.closing(self.broker.producer())

    def closing(self, client: Client) -> Client:
        self._stack.callback(client.close)
        return client

    def topic(self, partitions: int = 1, name: str = "in") -> str:
        spec = TopicSpec(f"{self.ns}.{name}", "key", partitions, "test")
        self.admin.create([spec])
        return spec.name

    def put(self, *records: Record) -> None:
        for record in records:
            self._producer.produce(record)
        assert self._producer.flush(WAIT_S) == 0

    def member(
        self, topic: str, *, instance: str | None = None, paused: bool = False, group: str = "g"
    ) -> Consumer:
        spec = ConsumerSpec(f"{self.ns}.{group}", (topic,), instance, paused_on_assign=paused)
        return self.closing(self.broker.consumer(spec))

    def delete_before(self, at: TopicPartition, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_records([ck.TopicPartition(*at, offset)]).values():
            future.result(WAIT_S)

    def commit_transaction(self, transactional_id: str, *records: Record) -> None:
        producer = self.closing(self.broker.transactional(f"{self.ns}-{transactional_id}"))
        producer.init()
        producer.begin()
        producer.produce(records)
        producer.commit()


def take_until(consumer: Consumer, enough: Callable[[Taken], bool]) -> list[Taken]:
    """Takes until one of them is enough."""
    deadline = time.monotonic() + WAIT_S
    taken = []
    while time.monotonic() < deadline:
        taken.append(consumer.take(1000, 0.05))
        if enough(taken[-1]):
            return taken
    raise AssertionError(f"not enough within {WAIT_S} s: {taken[-1]}")


def joined(consumer: Consumer) -> Taken:
    return take_until(consumer, lambda taken: bool(taken.assignment))[-1]


def read(consumer: Consumer, n: int) -> list[Message]:
    messages: list[Message] = []

    def enough(taken: Taken) -> bool:
        messages.extend(taken.messages)
        return len(messages) >= n

    take_until(consumer, enough)
    return messages


def numbered(topic: str, n: int, partition: int | None = 0) -> list[Record]:
    return [Record(topic, b"k", str(i).encode(), (), partition) for i in range(n)]


def seconds(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started
