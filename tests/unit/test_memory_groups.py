"""Groups, time and processes on the manual clock."""

from __future__ import annotations

import pytest

from events.broker import ConsumerSpec, Record, TopicPartition
from events.errors import (
    AbortableError,
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
)
from events.memory import Limits, MemoryBroker
from events.memory.consumer import MemoryConsumer
from events.memory.groups import Member, assign_by_range
from events.topics import TopicSpec

P0, P1 = TopicPartition("in", 0), TopicPartition("in", 1)


class ManualClock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    broker = MemoryBroker(clock, limits=Limits(transaction_check_s=10))
    broker.admin().create([TopicSpec("in", "", 2, ""), TopicSpec("out", "", 1, "")])
    return broker


def static(name: str) -> ConsumerSpec:
    return ConsumerSpec("g", ("in",), instance=name, session_timeout_s=6)


def settle(*consumers: MemoryConsumer) -> list[set[TopicPartition]]:
    """Let all rejoin; what each owns."""
    for _ in range(2):
        for consumer in consumers:
            consumer.take(10, 0)
    return [set(consumer.take(10, 0).assignment) for consumer in consumers]


# --- processes


def test_a_killed_static_member_keeps_its_partitions_until_its_session_ends(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    process = broker.connect("p")
    dead, alive = process.consumer(static("a")), broker.consumer(static("b"))
    assert settle(dead, alive) == [{P0}, {P1}]
    process.link.cut()

    clock.now += 5.9
    assert set(alive.take(1, 0).assignment) == {P1}
    clock.now += 0.2
    assert settle(alive) == [{P0, P1}]


def test_a_killed_process_can_do_nothing(broker: MemoryBroker) -> None:
    process = broker.connect("p")
    consumer, producer = process.consumer(static("a")), process.producer()
    consumer.take(1, 0)
    process.link.cut()

    for call in (
        lambda: consumer.take(1, 0),
        lambda: consumer.commit({P0: 1}),
        lambda: producer.produce(Record("out", b"", b"")),
        lambda: process.transactional("t"),
        lambda: process.reader().end(P0, committed=True),
        lambda: process.admin().topics(),
    ):
        with pytest.raises(FatalBrokerError, match="p was killed"):
            call()


def test_a_stopped_process_that_continues_in_time_is_still_a_member(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    process = broker.connect("p")
    stopped, other = process.consumer(static("a")), broker.consumer(static("b"))
    settle(stopped, other)
    process.link.silence()
    clock.now += 5
    process.link.resume()
    clock.now += 5

    assert settle(stopped, other) == [{P0}, {P1}]


def test_a_zombie_learns_what_it_lost_and_is_refused_until_then(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    process = broker.connect("p")
    zombie, other = process.consumer(static("a")), broker.consumer(static("b"))
    settle(zombie, other)
    metadata = zombie.group_metadata()
    process.link.silence()
    clock.now += 7
    assert settle(other) == [{P0, P1}]
    process.link.resume()

    producer = process.transactional("t")
    producer.init()
    producer.begin()
    with pytest.raises(AbortableError, match="unknown member"):
        producer.send_offsets({P0: 1}, metadata)
    with pytest.raises(FencedError, match="unknown member"):
        zombie.commit({P0: 1})
    assert zombie.take(1, 0).lost == {P0}


def test_a_zombies_transaction_without_positions_commits(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Why every transaction sends a position for every partition that it touches."""
    process = broker.connect("p")
    zombie = process.consumer(static("a"))
    zombie.take(1, 0)
    producer = process.transactional("t")
    producer.init()
    producer.begin()
    producer.produce([Record("out", b"k", b"from the zombie")])
    process.link.silence()
    clock.now += 7
    broker.consumer(static("b")).take(1, 0)
    process.link.resume()

    producer.commit()

    assert broker.log(TopicPartition("out", 0)).read(0, 10).messages


def test_a_member_that_never_takes_is_given_up(broker: MemoryBroker, clock: ManualClock) -> None:
    busy, other = broker.consumer(static("a")), broker.consumer(static("b"))
    settle(busy, other)
    clock.now += 299
    other.take(1, 0)
    clock.now += 2

    assert settle(other) == [{P0, P1}]
    assert busy.take(1, 0).lost == {P0}


def test_a_member_that_lost_its_name_while_it_was_away_stays_out(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    process = broker.connect("p")
    first = process.consumer(static("a"))
    first.take(1, 0)
    process.link.silence()
    clock.now += 7
    second = broker.consumer(static("a"))
    second.take(1, 0)
    process.link.resume()

    for _ in range(2):
        with pytest.raises(DuplicateNameError, match="another process runs as a"):
            first.take(1, 0)
    assert set(second.take(1, 0).assignment) == {P0, P1}


def test_a_dynamic_member_that_closes_leaves_at_once(broker: MemoryBroker) -> None:
    spec = ConsumerSpec("g", ("in",))
    first, second = broker.consumer(spec), broker.consumer(spec)
    settle(first, second)
    second.close()

    assert settle(first) == [{P0, P1}]
    with pytest.raises(FatalBrokerError, match="closed"):
        second.take(1, 0)


# --- rebalances


def test_a_rebalance_waits_for_every_living_member(broker: MemoryBroker) -> None:
    first, second = broker.consumer(static("a")), broker.consumer(static("b"))
    first.take(1, 0)
    assert second.take(1, 0).assignment == {}
    assert second.take(1, 0).assignment == {}

    assert set(first.take(1, 0).assignment) == {P0}
    assert set(second.take(1, 0).assignment) == {P1}


def test_what_is_about_to_go_can_be_asked_for_before_the_take(broker: MemoryBroker) -> None:
    first = broker.consumer(static("a"))
    first.take(1, 0)
    assert first.leaving() is None
    broker.consumer(static("b")).take(1, 0)

    assert first.leaving() == frozenset({P0, P1})
    first.take(1, 0)
    assert first.leaving() is None


def test_a_rotated_rebalance_moves_partitions_between_the_same_members(
    broker: MemoryBroker,
) -> None:
    first, second = broker.consumer(static("a")), broker.consumer(static("b"))
    assert settle(first, second) == [{P0}, {P1}]
    broker.rebalance("g", rotate=1)

    assert settle(first, second) == [{P1}, {P0}]


def test_new_topics_bring_their_subscribers_together_again(broker: MemoryBroker) -> None:
    consumer = broker.consumer(ConsumerSpec("g", ("in", "late")))
    assert settle(consumer) == [{P0, P1}]
    broker.admin().create([TopicSpec("late", "", 1, "")])

    assert settle(consumer) == [{P0, P1, TopicPartition("late", 0)}]


def test_ranges_are_contiguous_by_name_and_the_first_get_the_rest() -> None:
    members = [
        Member(f"id-{name}", ConsumerSpec("g", ("t",), instance=name), 0.0) for name in "cab"
    ]

    owned = assign_by_range(members, {"t": 5})

    assert {name: [tp.partition for tp in parts] for name, parts in owned.items()} == {
        "id-a": [0, 1],
        "id-b": [2, 3],
        "id-c": [4],
    }


# --- transactions and time


def test_a_transaction_times_out_when_the_broker_next_looks(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    clock.now = 1003
    log = broker.log(TopicPartition("out", 0))
    producer = broker.transactional("t")
    producer.init()
    producer.begin()
    producer.produce([Record("out", b"k", b"v")])

    clock.now = 1019
    broker.admin().topics()
    assert log.stable == 0
    clock.now = 1020
    broker.admin().topics()

    assert log.stable == log.end == 2
    for call in (producer.commit, producer.abort, producer.begin):
        with pytest.raises(FencedError):
            call()


def test_positions_settle_in_the_order_they_were_sent_not_in_that_of_their_markers(
    broker: MemoryBroker,
) -> None:
    consumer = broker.consumer(static("a"))
    consumer.take(1, 0)
    broker.hold_markers()
    for name, position in (("t1", 5), ("t2", 8)):
        producer = broker.transactional(name)
        producer.init()
        producer.begin()
        producer.send_offsets({P0: position}, consumer.group_metadata())
        producer.commit()
    first, second = broker.markers

    broker.write_marker(second)
    broker.write_marker(first)

    assert consumer.committed([P0]) == {P0: 8}


def test_compaction_on_request_keeps_the_newest(broker: MemoryBroker) -> None:
    producer = broker.producer()
    for n in range(3):
        producer.produce(Record("out", b"k", b"%d" % n))

    assert broker.compact("out") == 2
    assert [m.value for m in broker.log(TopicPartition("out", 0)).read(0, 9).messages] == [b"2"]


def test_calls_in_the_wrong_order_say_so(broker: MemoryBroker) -> None:
    producer = broker.transactional("t")
    with pytest.raises(FatalBrokerError, match="begin while new"):
        producer.begin()
    producer.init()
    with pytest.raises(FatalBrokerError, match="produce while ready"):
        producer.produce([Record("out", b"k", b"v")])
