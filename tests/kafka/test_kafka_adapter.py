"""What is Kafka's own in the adapter; what every broker must do stands in `tests/contract`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event
from typing import Protocol, TypeVar
from uuid import uuid4

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient

from events.broker import Consumer, ConsumerSpec, Message, Record, Taken, TopicPartition
from events.dispatch import Handles
from events.errors import (
    AbortableError,
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
    RetriableError,
    SetupError,
    UnstableError,
)
from events.kafka import KafkaBroker
from events.loop import Begin, Commit, Init, Loop, Produce, SendOffsets, Take
from events.thread_driver import ThreadDriver
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


@pytest.fixture
def world(kafka_bootstrap: str) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(kafka_bootstrap, stack)


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


# ---- messages


def test_what_is_produced_comes_back_as_it_was(world: World) -> None:
    topic = world.topic()
    headers = (("a", b"1"), ("a", b""), ("ä", b"\xff"))
    world.put(
        Record(topic, b"key", b"value", headers),
        Record(topic, None, None),
        Record(topic, b"", b""),
    )
    first, null, empty = read(world.member(topic), 3)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, first.headers) == (b"key", b"value", headers)
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60
    assert (null.key, null.value, null.headers) == (None, None, ())
    assert (empty.key, empty.value) == (b"", b"")


@pytest.mark.parametrize("transactional", [False, True])
def test_keys_go_where_java_sends_them(world: World, transactional: bool) -> None:
    topic = world.topic(partitions=16)
    # Vectors of Java's own test of its hash.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"abc": 479470107}
    records = [Record(topic, key, b"v") for key in hashes]
    if transactional:
        world.commit_transaction("w", *records)
    else:
        world.put(*records)
    places = {m.key: m.partition for m in read(world.member(topic), len(hashes))}
    assert places == {key: (value & 0x7FFFFFFF) % 16 for key, value in hashes.items()}


# ---- takes and positions


def test_a_take_does_not_wait_for_more_than_there_is(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 1))
    consumer = world.member(topic)
    read(consumer, 1)
    world.put(*numbered(topic, 3))
    started = time.monotonic()
    assert len(consumer.take(1000, 10).messages) >= 1
    assert time.monotonic() - started < 2


def test_a_paused_assignment_delivers_from_where_it_is_opened(world: World) -> None:
    topic = world.topic(partitions=3)
    world.put(*(record for p in range(3) for record in numbered(topic, 10, p)))
    consumer = world.member(topic, paused=True)
    joined(consumer)
    assert [consumer.take(10, 0.05).messages for _ in range(3)] == [[], [], []]
    positions = dict(zip((TopicPartition(topic, p) for p in range(3)), (None, 0, 7), strict=True))
    consumer.open(positions)
    messages = read(consumer, 23)
    firsts = [min(m.offset for m in messages if m.partition == p) for p in range(3)]
    assert firsts == [0, 0, 7]


def test_opening_again_goes_back(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 10))
    consumer = world.member(topic)
    assert len(read(consumer, 10)) == 10
    consumer.open({TopicPartition(topic, 0): 4})
    assert [m.offset for m in read(consumer, 6)] == [4, 5, 6, 7, 8, 9]


def test_resuming_and_opening_do_not_wait_for_the_clients_own_second_look(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 5))
    consumer = world.member(topic)
    read(consumer, 5)
    at = TopicPartition(topic, 0)

    def wait_for_one(wake: Callable[[], None]) -> float:
        consumer.pause([at])
        for _ in range(3):
            assert not consumer.take(10, 0.05).messages
        world.put(*numbered(topic, 1))
        started = time.monotonic()
        wake()
        read(consumer, 1)
        return time.monotonic() - started

    waits = [wait_for_one(lambda: consumer.resume([at])) for _ in range(4)]
    waits += [wait_for_one(lambda: consumer.open({at: 0})) for _ in range(4)]
    assert max(waits) < 0.8, "the client looks again by itself after a second"


def test_a_position_whose_records_are_gone_is_an_error_for_a_loop_that_restores(
    world: World,
) -> None:
    topic = world.topic()
    consumer = world.member(topic, paused=True)
    joined(consumer)
    consumer.open({TopicPartition(topic, 0): 1000})
    with pytest.raises(FatalBrokerError, match="deleted before they were read"):
        take_until(consumer, lambda _: False)


def test_commits_stay_quick_while_polling_is_saturated(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 30_000))
    consumer = world.member(topic)
    at = TopicPartition(topic, 0)
    waits = []
    for taken in take_until(consumer, lambda t: bool(t.messages)):
        last = taken
    while last.messages and last.messages[-1].offset < 29_999:
        last = consumer.take(500, 5)
        position = last.messages[-1].offset + 1
        waits.append(seconds(lambda p=position: consumer.commit({at: p})))  # type: ignore[misc]
    assert len(waits) >= 50
    assert sorted(waits)[len(waits) // 2] < 0.05
    assert consumer.committed([at]) == {at: 30_000}


# ---- membership


def test_a_second_member_takes_over_its_share_and_the_first_one_commits_before(
    world: World,
) -> None:
    topic = world.topic(partitions=2)
    all_of_it = {TopicPartition(topic, p) for p in range(2)}
    first = world.member(topic)
    assert joined(first).assignment == dict.fromkeys(all_of_it, 1)
    first.on_revoke(lambda going: first.commit(dict.fromkeys(going, 5)))
    second = world.member(topic)
    deadline = time.monotonic() + WAIT_S
    ours, theirs = first.take(10, 0.05), second.take(10, 0.05)
    while not (theirs.assignment and len(ours.assignment) == 1):
        assert time.monotonic() < deadline
        ours, theirs = first.take(10, 0.05), second.take(10, 0.05)
    assert set(ours.assignment) | set(theirs.assignment) == all_of_it
    assert set(ours.assignment.values()) == {2}, "kept or not, it is a new assignment"
    assert second.committed(all_of_it) == dict.fromkeys(all_of_it, 5)


def test_the_restart_of_a_named_member_moves_nothing(world: World) -> None:
    topic = world.topic(partitions=2)
    one, two = world.member(topic, instance="one"), world.member(topic, instance="two")
    deadline = time.monotonic() + WAIT_S
    while True:
        ours, theirs = one.take(10, 0.05), two.take(10, 0.05)
        if len(ours.assignment) == len(theirs.assignment) == 1:
            break
        assert time.monotonic() < deadline
    one.close()
    again = world.member(topic, instance="one")
    started = time.monotonic()
    assert set(joined(again).assignment) == set(ours.assignment)
    assert time.monotonic() - started < 4, "it did not wait for its old session"
    assert two.take(10, 0.5).assignment == theirs.assignment


def test_the_older_of_two_members_of_one_name_is_told(world: World) -> None:
    topic = world.topic()
    older = world.member(topic, instance="twin")
    joined(older)
    joined(world.member(topic, instance="twin"))
    with pytest.raises(DuplicateNameError, match="fenced"):
        take_until(older, lambda _: False)


def test_a_dynamic_member_leaves_at_once(world: World) -> None:
    topic = world.topic()
    leaver = world.member(topic)
    joined(leaver)
    assert world.admin.members(f"{world.ns}.g") == 1
    assert seconds(leaver.close) < 2
    assert world.admin.members(f"{world.ns}.g") == 0


# ---- transactions


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
    assert reader.last_writer(place) == name
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
    assert reader.last_writer(at) is None
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
