"""Transactions on real Kafka: what aborts, who is fenced, what a hung one hides."""

from __future__ import annotations

import time
from threading import Event

import pytest

from events.broker import ConsumerSpec, Record, TopicPartition
from events.dispatch import Handles
from events.errors import (
    AbortableError,
    FencedError,
    UnstableError,
)
from events.kafka import KafkaBroker
from events.loop import Begin, Commit, Init, Loop, Produce, SendOffsets, Take
from events.thread_driver import ThreadDriver
from tests.kafka.kafka_world import WAIT_S, World, joined, numbered, read, seconds


def test_a_transaction_larger_than_the_queue_goes_through(world: World) -> None:
    topic = world.topic()
    small = KafkaBroker(world.bootstrap, config={"queue.buffering.max.messages": "100"})
    producer = world.closing(small.transactional(f"{world.ns}-w"))
    producer.init()
    producer.begin()
    producer.produce(numbered(topic, 2000))
    producer.commit()
    assert len(read(world.member(topic), 2000)) == 2000


def test_a_record_that_is_too_large_aborts_and_the_next_transaction_commits(world: World) -> None:
    topic = world.topic()
    producer = world.closing(world.broker.transactional(f"{world.ns}-w"))
    producer.init()
    producer.begin()
    with pytest.raises(AbortableError):
        producer.produce([*numbered(topic, 1), Record(topic, b"k", bytes(11 * 1024 * 1024))])
    producer.abort()
    producer.begin()
    producer.produce([Record(topic, b"k", b"good")])
    producer.commit()
    assert [m.value for m in read(world.member(topic), 1)] == [b"good"]


def test_the_older_of_two_producers_of_one_name_is_fenced(world: World) -> None:
    topic = world.topic()
    older = world.closing(world.broker.transactional(f"{world.ns}-w"))
    older.init()
    older.begin()
    older.produce(numbered(topic, 1))
    newer = world.closing(world.broker.transactional(f"{world.ns}-w"))
    newer.init()

    def produce_until_told() -> None:  # which a broker's answer does
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            older.produce(numbered(topic, 1))

    with pytest.raises(FencedError):
        produce_until_told()
    with pytest.raises(FencedError):
        older.commit()


def test_a_closed_producer_leaves_its_transaction_to_its_successor(world: World) -> None:
    topic = world.topic()
    at = TopicPartition(topic, 0)
    producer = world.broker.transactional(f"{world.ns}-w")
    producer.init()
    producer.begin()
    producer.produce(numbered(topic, 1))
    reader = world.closing(world.broker.reader())
    deadline = time.monotonic() + WAIT_S
    while reader.end(at, committed=False) == 0:
        assert time.monotonic() < deadline
    producer.close()
    producer.close()
    assert reader.end(at, committed=True) == 0
    world.closing(world.broker.transactional(f"{world.ns}-w")).init()
    assert reader.end(at, committed=True) == reader.end(at, committed=False) == 2


def test_positions_under_a_membership_that_is_over_are_refused(world: World) -> None:
    topic = world.topic(partitions=2)
    first = world.member(topic)
    joined(first)
    stale = first.group_metadata()
    second = world.member(topic)
    deadline = time.monotonic() + WAIT_S
    while not second.take(10, 0.05).assignment:
        first.take(10, 0.05)
        assert time.monotonic() < deadline
    producer = world.closing(world.broker.transactional(f"{world.ns}-w"))
    producer.init()
    for membership in (stale, None):
        producer.begin()
        with pytest.raises(AbortableError):
            producer.send_offsets({TopicPartition(topic, 0): 1}, membership)
        producer.abort()
    at = TopicPartition(topic, 0)
    assert second.committed([at]) == {at: None}


def test_a_hung_transaction_hides_what_is_behind_it_until_it_is_released(world: World) -> None:
    inbox, log = world.topic(), world.topic(name="log")
    source, place = TopicPartition(inbox, 0), TopicPartition(log, 0)
    name = f"{world.ns}-hung"
    member = world.member(inbox)
    joined(member)
    hung = world.closing(world.broker.transactional(name))
    hung.init()
    hung.begin()
    hung.produce([Record(log, b"k", b"v", (("cw-tx", name.encode()),))])
    hung.send_offsets({source: 3}, member.group_metadata())
    reader = world.closing(world.broker.reader())
    deadline = time.monotonic() + WAIT_S
    while reader.end(place, committed=False) == 0:
        assert time.monotonic() < deadline

    assert reader.end(place, committed=True) == 0
    assert reader.read(place, 0, 10).next_offset == 0
    assert reader.read(place, 1, 10).next_offset == 1
    with pytest.raises(UnstableError):
        member.committed([source])

    def release() -> None:
        producer = world.broker.transactional(name)
        producer.init()
        producer.close()

    assert seconds(release) < 5, "waiting for the broker would take ten seconds"
    slice_ = reader.read(place, 0, 10)
    while slice_.next_offset < reader.end(place, committed=False):
        assert time.monotonic() < deadline
        slice_ = reader.read(place, slice_.next_offset, 10)
    assert list(slice_.messages) == []
    assert member.committed([source]) == {source: None}
    with pytest.raises(FencedError):
        hung.commit()


# ---- a loop on its thread


def copy(source: str, target: str, batch: int) -> Loop:
    """Copies records in transactions, one take a transaction."""
    yield Init()
    while True:
        taken = yield Take(batch, 0.05)
        if not taken.messages:
            continue
        positions = {m.source: m.offset + 1 for m in taken.messages}
        yield Begin()
        yield Produce([Record(target, m.key, m.value, m.headers) for m in taken.messages])
        yield SendOffsets(positions)
        yield Commit()


def test_a_loop_on_its_thread_copies_each_record_once_and_stops(world: World) -> None:
    source, target = world.topic(partitions=2), world.topic(name="out")
    world.put(*numbered(source, 500, 0), *numbered(source, 500, 1))
    stop = Event()
    spec = ConsumerSpec(f"{world.ns}.copy", (source,), f"{world.ns}-copy")
    driver = ThreadDriver(
        "copy",
        lambda: copy(source, target, 64),
        lambda: Handles(
            world.broker, time.time, world.broker.consumer(spec), transactional_id=spec.instance
        ),
        stop=stop,
        listener=lambda *_: None,
    )
    driver.start()
    copied = [m.value or b"" for m in read(world.member(target, group="check"), 1000)]
    stop.set()
    assert driver.join(WAIT_S)
    assert driver.exit_code == 0
    assert sorted(copied) == sorted(2 * [str(i).encode() for i in range(500)])
    lags = [(lag.committed, lag.end) for lag in world.admin.lag(spec.group)]
    assert lags == [(500, 500), (500, 500)]
