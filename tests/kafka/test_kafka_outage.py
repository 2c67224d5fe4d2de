"""What becomes of a loop whose broker is killed and comes back after its session has ended."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import pytest

from events.broker import ConsumerSpec, Record, TopicPartition
from events.dispatch import Handles
from events.errors import AbortableError, FencedError, RetriableError
from events.kafka import KafkaBroker
from events.local_kafka import LocalKafka, Options
from events.loop import (
    Abort,
    Begin,
    Commit,
    Committed,
    Init,
    Loop,
    Open,
    Operation,
    Produce,
    Renew,
    SendOffsets,
    Take,
)
from events.thread_driver import ThreadDriver
from events.topics import TopicSpec

pytestmark = pytest.mark.slow

N = 400
WAIT_S = 90.0
SOURCE, TARGET = TopicPartition("in", 0), TopicPartition("out", 0)


@pytest.fixture
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    quick = Options(overrides={"group.min.session.timeout.ms": "500"})
    with LocalKafka.start(tmp_path_factory.mktemp("outage"), options=quick) as running:
        yield running


def again(operation: Operation) -> Generator[Operation, Any, Any]:
    while True:
        try:
            return (yield operation)
        except RetriableError:
            continue


def copy() -> Loop:
    """Copies one record a transaction; goes back after an abort, renews after a fence."""
    yield from again(Init())
    while True:
        taken = yield Take(1, 0.05)
        for m in taken.messages:
            try:
                yield from again(Begin())
                yield Produce([Record(TARGET.topic, m.key, m.value, (), 0)])
                yield from again(SendOffsets({m.source: m.offset + 1}))
                yield from again(Commit())
            except (AbortableError, FencedError) as error:
                yield from give_up(error)
                yield Open((yield from again(Committed((SOURCE,)))))


def give_up(error: Exception) -> Generator[Operation, Any, None]:
    if isinstance(error, AbortableError):
        try:
            yield from again(Abort())
        except (AbortableError, FencedError):
            pass
        else:
            return
    yield from again(Renew())


def read_all(broker: KafkaBroker, n: int) -> list[bytes | None]:
    reader = broker.reader()
    deadline = time.monotonic() + WAIT_S
    values: list[bytes | None] = []
    position = 0
    while len(values) < n and time.monotonic() < deadline:
        try:
            slice_ = reader.read(TARGET, position, n)
        except RetriableError:
            continue
        values += [m.value for m in slice_.messages]
        position = slice_.next_offset
    reader.close()
    return values


def test_a_loop_goes_on_exactly_once_after_its_broker_was_killed(kafka: LocalKafka) -> None:
    troubles: list[str] = []
    broker = KafkaBroker(kafka.bootstrap, trouble=troubles.append)
    broker.admin().create([TopicSpec(at.topic, "key", 1, "test") for at in (SOURCE, TARGET)])
    producer = broker.producer()
    for i in range(N):
        producer.produce(Record(SOURCE.topic, b"k", b"%d" % i, (), 0))
    assert producer.flush(WAIT_S) == 0
    spec = ConsumerSpec("g", (SOURCE.topic,), "g-0", session_timeout_s=0.8)
    stop = Event()
    driver = ThreadDriver(
        "copy",
        copy,
        lambda: Handles(broker, time.time, broker.consumer(spec), transactional_id="g-0"),
        stop=stop,
        listener=lambda *_: None,
    )
    driver.start()
    assert len(read_all(broker, N // 4)) >= N // 4
    kafka.kill()
    kafka.restart()
    values = read_all(broker, N)
    stop.set()
    assert driver.join(WAIT_S)
    producer.close()
    assert driver.error is None
    assert sorted(map(int, filter(None, values))) == list(range(N))
    assert "_ALL_BROKERS_DOWN" in troubles
