"""Exactly once: what transactions show, hide, move and refuse."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from events.broker import Record, TopicPartition
from events.errors import AbortableError, FencedError, UnstableError
from events.memory import MemoryBroker
from tests.contract.bench import PATIENCE_S, Bench, values


@pytest.fixture(autouse=True)
def needs_transactions(bench: Bench) -> None:
    if not bench.broker.features.transactions:
        pytest.skip("this broker has no transactions")


def test_readers_see_a_transaction_when_it_commits(bench: Bench) -> None:
    topic = bench.topic()
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"1")])
    assert bench.nothing(consumer)

    producer.commit()

    assert values(bench.take(consumer, 1)) == [b"1"]


def test_readers_never_see_what_was_aborted(bench: Bench) -> None:
    topic = bench.topic()
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"aborted")])
    producer.abort()
    bench.write(producer, Record(topic, b"k", b"committed"))

    assert values(bench.take(bench.consumer(topic), 1)) == [b"committed"]


def test_an_open_transaction_holds_back_what_others_wrote_behind_it(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    slow, quick = bench.transactional(), bench.transactional()
    slow.begin()
    slow.produce([Record(topic, b"k", b"slow")])
    bench.until(lambda: bench.reader.end(source, committed=False) > 0)
    bench.write(quick, Record(topic, b"k", b"quick"))

    assert bench.nothing(consumer)
    slow.abort()

    assert values(bench.take(consumer, 1)) == [b"quick"]


def test_positions_move_when_the_transaction_commits_and_not_before(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    producer = bench.transactional()

    producer.begin()
    producer.produce([Record(topic, b"k", b"v")])
    producer.send_offsets({source: 5}, consumer.group_metadata())
    producer.abort()
    assert bench.committed(consumer, source) is None

    producer.begin()
    producer.produce([Record(topic, b"k", b"v")])
    producer.send_offsets({source: 7}, consumer.group_metadata())
    producer.commit()
    assert bench.committed(consumer, source) == 7


def test_a_transaction_may_consist_of_positions_alone(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    producer = bench.transactional()

    producer.begin()
    producer.send_offsets({source: 3}, consumer.group_metadata())
    producer.commit()

    assert bench.committed(consumer, source) == 3


def test_a_position_that_an_open_transaction_may_move_is_unstable(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    producer = bench.transactional()
    producer.begin()
    producer.send_offsets({source: 3}, consumer.group_metadata())

    with pytest.raises(UnstableError):
        consumer.committed([source])
    producer.commit()

    assert bench.committed(consumer, source) == 3


# --- fencing


def test_a_new_producer_of_the_same_id_fences_the_old_one(bench: Bench) -> None:
    topic = bench.topic()
    name = f"tx-{uuid4().hex[:8]}"
    old = bench.transactional(name)
    old.begin()
    old.produce([Record(topic, b"k", b"zombie")])
    bench.until(lambda: bench.reader.end(TopicPartition(topic, 0), committed=False) > 0)

    new = bench.transactional(name)

    with pytest.raises(FencedError):
        old.commit()
    bench.write(new, Record(topic, b"k", b"alive"))
    assert values(bench.take(bench.consumer(topic), 1)) == [b"alive"]


def test_initialising_ends_the_transaction_that_a_dead_process_left_open(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    name = f"tx-{uuid4().hex[:8]}"
    dead = bench.transactional(name)
    dead.begin()
    dead.produce([Record(topic, b"k", b"v")])
    bench.until(lambda: bench.reader.end(source, committed=False) > 0)
    assert bench.reader.end(source, committed=True) == 0

    bench.transactional(name)

    bench.until(
        lambda: (
            bench.reader.end(source, committed=True) == bench.reader.end(source, committed=False)
        )
    )
    assert bench.read(source) == []


def test_positions_under_an_old_generation_are_refused(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    first = bench.consumer(topic)
    bench.assigned(first, n=2)
    stale = first.group_metadata()
    second = bench.consumer(topic)
    bench.shared([first, second], [1, 1])
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"stale")])

    with pytest.raises((AbortableError, FencedError)):
        producer.send_offsets({TopicPartition(topic, 0): 1}, stale)

    assert bench.committed(second, TopicPartition(topic, 0)) is None


def test_positions_are_fenced_by_generation_and_not_by_ownership(bench: Bench) -> None:
    """Why a batch of a lost partition must never reach a transaction."""
    topic = bench.topic(partitions=2)
    first, second = bench.consumer(topic), bench.consumer(topic)
    _, other = bench.shared([first, second], [1, 1])
    (foreign,) = other.assignment
    producer = bench.transactional()

    producer.begin()
    producer.send_offsets({foreign: 9}, first.group_metadata())
    producer.commit()

    assert bench.committed(second, foreign) == 9


def test_after_an_abort_the_producer_goes_on(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    source = TopicPartition(topic, 0)
    first = bench.consumer(topic)
    bench.assigned(first, n=2)
    stale = first.group_metadata()
    second = bench.consumer(topic)
    bench.shared([first, second], [1, 1])
    producer = bench.transactional()
    producer.begin()
    with pytest.raises(AbortableError):
        producer.send_offsets({source: 1}, stale)
    producer.abort()

    producer.begin()
    producer.produce([Record(topic, b"k", b"v", partition=0)])
    producer.send_offsets({source: 1}, first.group_metadata())
    producer.commit()

    assert bench.committed(second, source) == 1
    assert values(bench.read(source)) == [b"v"]


def test_a_record_over_the_topics_limit_aborts_the_transaction(bench: Bench) -> None:
    topic = bench.topic(config={"max.message.bytes": "2000"})
    producer = bench.transactional()
    producer.begin()

    def whole() -> None:
        producer.produce([Record(topic, b"k", bytes(range(250)) * 20)])
        producer.commit()

    with pytest.raises(AbortableError):
        whole()
    producer.abort()
    # The client library may be out of step with the broker and need a second abort.
    aborts = 0
    while True:
        try:
            bench.write(producer, Record(topic, b"k", b"small"))
            break
        except AbortableError:
            aborts += 1
            producer.abort()
            assert aborts < 3, "the producer does not recover"

    assert values(bench.read(TopicPartition(topic, 0))) == [b"small"]


# --- markers that arrive one by one


def held(bench: Bench) -> MemoryBroker:
    if not (bench.broker.features.late_markers and isinstance(bench.broker, MemoryBroker)):
        pytest.skip("this broker cannot hold markers back")
    return bench.broker


def test_positions_may_be_stable_before_the_log_they_belong_to(bench: Bench) -> None:
    """Why a restore reads up to the high watermark and not to the stable offset."""
    broker = held(bench)
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=1)
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"v")])
    producer.send_offsets({source: 1}, consumer.group_metadata())
    broker.hold_markers()
    producer.commit()

    with pytest.raises(UnstableError):
        consumer.committed([source])
    broker.write_marker(next(m for m in broker.markers if "group" in str(m)))

    assert consumer.committed([source]) == {source: 1}
    assert bench.reader.end(source, committed=True) == 0
    assert bench.reader.end(source, committed=False) == 1

    broker.write_markers()

    assert bench.reader.end(source, committed=True) == 2


def test_each_partition_waits_for_its_own_marker(bench: Bench) -> None:
    broker = held(bench)
    topic = bench.topic(partitions=2)
    producer = bench.transactional()
    broker.hold_markers()
    bench.write(producer, *(Record(topic, b"", b"%d" % p, partition=p) for p in (0, 1)))

    broker.write_marker(broker.markers[1])

    assert values(bench.read(TopicPartition(topic, 0))) == []
    assert values(bench.read(TopicPartition(topic, 1))) == [b"1"]


def test_the_next_transaction_of_an_id_waits_for_the_markers_of_the_last(bench: Bench) -> None:
    broker = held(bench)
    topic = bench.topic()
    producer = bench.transactional()
    broker.hold_markers()
    bench.write(producer, Record(topic, b"k", b"1"))

    producer.begin()
    producer.produce([Record(topic, b"k", b"2")])

    assert values(bench.read(TopicPartition(topic, 0))) == [b"1"]


@pytest.mark.slow
def test_a_transaction_that_nobody_ends_is_aborted_by_the_broker(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"v")])
    bench.until(lambda: bench.reader.end(source, committed=False) > 0)
    deadline = time.monotonic() + PATIENCE_S
    while bench.reader.end(source, committed=True) == 0:
        assert time.monotonic() < deadline, "the broker never gave the transaction up"
        time.sleep(0.2)

    with pytest.raises(FencedError):
        producer.commit()


# --- marks: how far a log is once a transaction has committed


def test_a_commit_says_where_its_marks_ended(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    producer = bench.transactional()
    producer.begin()
    producer.produce(
        [Record(topic, b"k", b"a", partition=1), Record(topic, b"k", b"b", partition=1)],
        [Record(topic, b"m", b"0", partition=0), Record(topic, b"m", b"1", partition=1)],
    )

    assert producer.commit() == {TopicPartition(topic, 0): 1, TopicPartition(topic, 1): 3}


def test_the_marks_of_the_next_transaction_come_after_the_marker_of_the_last(bench: Bench) -> None:
    """Markers take offsets: where a mark ended is asked, never counted."""
    topic = bench.topic()
    at = TopicPartition(topic, 0)
    producer = bench.transactional()
    ends = []
    for number in (b"1", b"2"):
        producer.begin()
        producer.produce([Record(topic, b"k", number)], [Record(topic, b"m", number)])
        ends.append(producer.commit()[at])

    assert ends == [2, 5]
    assert values(bench.read(at, ends[0])) == [b"2", b"2"]
    assert values(bench.read(at, ends[1])) == []


def test_an_aborted_transaction_and_one_without_marks_say_nothing(bench: Bench) -> None:
    topic = bench.topic()
    producer = bench.transactional()
    producer.begin()
    producer.produce([], [Record(topic, b"m", b"aborted")])
    producer.abort()
    producer.begin()
    producer.produce([Record(topic, b"k", b"v")])

    assert producer.commit() == {}


def test_a_mark_that_is_refused_aborts_the_transaction(bench: Bench) -> None:
    topic = bench.topic(config={"max.message.bytes": "2000"})
    producer = bench.transactional()
    producer.begin()

    def whole() -> None:
        producer.produce([], [Record(topic, b"m", bytes(range(250)) * 20)])
        producer.commit()

    with pytest.raises(AbortableError):
        whole()


def test_who_moved_a_position_in_a_transaction_and_left_the_group_is_known(bench: Bench) -> None:
    if not bench.broker.features.static_membership:
        pytest.skip("members of this broker have no names")
    topic = bench.topic(partitions=2)
    both = [TopicPartition(topic, number) for number in range(2)]
    leaver, stayer = (f"{name}-{uuid4().hex[:12]}" for name in ("a", "b"))
    leaves, stays = (bench.consumer(topic, instance=name) for name in (leaver, stayer))
    bench.shared([leaves, stays], [1, 1])
    producer = bench.transactional(leaver)
    producer.begin()
    producer.send_offsets({both[0]: 3}, leaves.group_metadata())
    producer.commit()
    producer.begin()
    producer.produce([Record(topic, b"k", b"left open", (), 1)])
    producer.send_offsets({both[0]: 4}, leaves.group_metadata())
    bench.until(lambda: bench.reader.end(both[1], committed=False) > 0)

    assert stays.departed(both) == frozenset(), "it is still there"
    leaves.close()
    bench.assigned(stays, n=2)

    assert stays.departed(both) == {leaver}
    assert stays.departed(both[1:]) == frozenset(), "nobody ever moved this one"
