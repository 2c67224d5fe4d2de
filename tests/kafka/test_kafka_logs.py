"""Reading logs, producing without transactions, topics and groups on real Kafka."""

from __future__ import annotations

import time

import pytest

from events.broker import Record, TopicPartition
from events.errors import (
    RetriableError,
    SetupError,
)
from events.kafka import KafkaBroker
from events.topics import TopicSpec
from tests.kafka.kafka_world import NOWHERE, WAIT_S, World, joined, numbered, seconds

# ---- logs


def test_a_log_is_read_to_its_end_although_that_holds_only_markers(world: World) -> None:
    topic = world.topic()
    at = TopicPartition(topic, 0)
    for _ in range(3):
        world.commit_transaction("w", *numbered(topic, 4))
    reader = world.closing(world.broker.reader())
    offsets, position = [], 0
    while position < 15:
        slice_ = reader.read(at, position, 5)
        assert slice_.next_offset > position
        offsets += [m.offset for m in slice_.messages]
        position = slice_.next_offset
    assert position == reader.end(at, committed=False) == 15
    assert offsets == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
    assert reader.read(at, 15, 5).next_offset == 15
    assert reader.beginning(at) == 0


def test_several_logs_are_read_at_once_in_bounded_slices(world: World) -> None:
    topic = world.topic(partitions=3)
    for partition, n in enumerate((25, 3, 0)):
        if n:
            world.commit_transaction(str(partition), *numbered(topic, n, partition))
    places = [TopicPartition(topic, p) for p in range(3)]
    reader = world.closing(world.broker.reader())
    positions = dict.fromkeys(places, 0)
    ends = {at: reader.end(at, committed=False) for at in places}
    found: dict[TopicPartition, list[int]] = {at: [] for at in places}
    while positions != ends:
        slices = reader.read_many(positions, 10)
        assert sum(len(slice_.messages) for slice_ in slices.values()) <= 10
        assert any(slices[at].next_offset > positions[at] for at in places)
        for at, slice_ in slices.items():
            found[at] += [m.offset for m in slice_.messages]
            positions[at] = slice_.next_offset
    assert list(positions.values()) == [26, 4, 0]
    assert list(found.values()) == [list(range(25)), [0, 1, 2], []]
    world.put(*numbered(topic, 1, 1))
    assert [len(s.messages) for s in reader.read_many(positions, 10).values()] == [0, 1, 0]


def test_what_comes_after_the_end_is_read_later(world: World) -> None:
    topic = world.topic()
    at = TopicPartition(topic, 0)
    reader = world.closing(world.broker.reader())
    assert reader.read(at, 0, 5).next_offset == 0
    world.put(*numbered(topic, 2))
    assert [m.offset for m in reader.read(at, 0, 5).messages] == [0, 1]
    world.put(*numbered(topic, 1))
    assert [m.offset for m in reader.read(at, 2, 5).messages] == [2]


def test_a_log_whose_head_was_deleted_is_read_from_its_beginning(world: World) -> None:
    topic = world.topic()
    at = TopicPartition(topic, 0)
    world.put(*numbered(topic, 10))
    reader = world.closing(world.broker.reader())
    world.delete_before(at, 6)
    assert reader.beginning(at) == 6
    assert [m.offset for m in reader.read(at, 0, 10).messages] == [6, 7, 8, 9]
    world.delete_before(at, 10)
    assert reader.read(at, 0, 10).next_offset == 10


def test_restoring_many_records_takes_less_than_a_second_or_two(world: World) -> None:
    topic = world.topic(partitions=3)
    for batch in range(3):
        world.commit_transaction(str(batch), *numbered(topic, 7333, batch))
    reader = world.closing(world.broker.reader())

    def restore() -> None:
        for partition in range(3):
            at = TopicPartition(topic, partition)
            position, end, count = 0, reader.end(at, committed=False), 0
            while position < end:
                slice_ = reader.read(at, position, 5000)
                position, count = slice_.next_offset, count + len(slice_.messages)
            assert count == 7333

    assert seconds(restore) < 2


# ---- producers and admin


def test_a_record_is_reported_when_it_is_acknowledged(world: World) -> None:
    topic = world.topic()
    producer = world.closing(world.broker.producer())
    reports: list[Exception | None] = []
    producer.produce(Record(topic, b"k", b"v"), reports.append)
    deadline = time.monotonic() + WAIT_S
    while not reports:
        assert time.monotonic() < deadline
        producer.poll()
    assert reports == [None]


def test_a_full_queue_refuses_and_closing_gives_up_what_is_in_it() -> None:
    broker = KafkaBroker(NOWHERE, config={"queue.buffering.max.messages": "3"})
    producer = broker.producer()
    reports: list[Exception | None] = []
    for record in numbered("t", 3):
        producer.produce(record, reports.append)
    with pytest.raises(RetriableError, match="queue is full"):
        producer.produce(Record("t", b"k", b"v"))
    assert seconds(producer.close) < 2
    assert [type(report) for report in reports] == [RetriableError] * 3


def test_topics_are_made_once_with_their_configuration(world: World) -> None:
    spec = TopicSpec(f"{world.ns}.log", "k", 3, "test", {"cleanup.policy": "compact"})
    assert world.admin.create([spec]) == (spec.name,)
    assert world.admin.create([spec]) == ()
    state = world.admin.topics()[spec.name]
    assert (state.partitions, state.config) == (3, {"cleanup.policy": "compact"})


def test_a_broker_that_cannot_do_it_says_so_in_one_line(world: World) -> None:
    admin = KafkaBroker(world.bootstrap, replication=5).admin()
    with pytest.raises(SetupError, match=r"topic .* cannot be made"):
        admin.create([TopicSpec(f"{world.ns}.wide", "k", 1, "test")])


def test_lag_counts_what_is_owned_although_nothing_was_committed(world: World) -> None:
    topic = world.topic(partitions=2)
    world.put(*numbered(topic, 4, 0))
    member = world.member(topic)
    joined(member)
    member.commit({TopicPartition(topic, 0): 3})
    zero, one = world.admin.lag(f"{world.ns}.g")
    assert (zero.source.partition, zero.committed, zero.end) == (0, 3, 4)
    assert (one.source.partition, one.committed, one.end) == (1, None, 0)
    assert world.admin.lag("nobody") == ()
    assert world.admin.members("nobody") == 0


def test_an_unreachable_broker_is_one_clear_line_within_seconds() -> None:
    admin = KafkaBroker(NOWHERE).admin()
    started = time.monotonic()
    with pytest.raises(SetupError, match=r"no Kafka answers at 127\.0\.0\.1:1 \(.*start.*\)"):
        admin.topics()
    assert time.monotonic() - started < 7
