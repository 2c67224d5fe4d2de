"""Members of groups: order, positions, rebalances, names."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from events.broker import OffsetAndMetadata, Record, TopicPartition
from events.errors import DuplicateNameError, FencedError, UnreadDeletedError
from events.partitioner import partition_of
from tests.contract.bench import PATIENCE_S, Bench, keys, values


def test_messages_of_a_partition_come_in_the_order_they_were_produced(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(50)))

    found = bench.take(bench.consumer(topic), 50)

    assert values(found) == [b"%d" % n for n in range(50)]
    assert [m.offset for m in found] == list(range(50))


def test_bytes_headers_and_nothing_travel_unchanged(bench: Bench) -> None:
    topic = bench.topic()
    headers = (("ce_id", b"1"), ("empty", b""), ("ce_id", b"2"), ("raw", b"\xff\x00"))
    before_ms = time.time() * 1000
    bench.produce(
        Record(topic, b"\x00\xff", b"\xfe\x00", headers),
        Record(topic, b"k", None),
        Record(topic, None, b""),
    )

    first, tombstone, keyless = bench.take(bench.consumer(topic), 3)

    assert (first.key, first.value, first.headers) == (b"\x00\xff", b"\xfe\x00", headers)
    assert first.header("ce_id") == "1"
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, ())
    assert (keyless.key, keyless.value) == (None, b"")
    assert before_ms - 1000 < first.timestamp_ms < before_ms + 60_000


def test_keys_go_to_the_partition_that_java_computes(bench: Bench) -> None:
    topic = bench.topic(partitions=5)
    sent = [b"key-%d" % n for n in range(60)]
    bench.produce(*(Record(topic, key, b"") for key in sent))

    found = bench.take(bench.consumer(topic), len(sent))

    assert {m.key: m.partition for m in found} == {key: partition_of(key, 5) for key in sent}


def test_a_named_partition_outranks_the_key(bench: Bench) -> None:
    topic = bench.topic(partitions=3)
    bench.produce(*(Record(topic, b"same", b"", partition=p) for p in range(3)))

    assert sorted(m.partition for m in bench.take(bench.consumer(topic), 3)) == [0, 1, 2]


def test_a_take_brings_no_more_than_it_was_asked_for(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(5)))
    consumer = bench.consumer(topic)

    first = bench.take(consumer, 1)
    rest = bench.take(consumer, 4)

    assert values([*first, *rest]) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_take_with_nothing_to_bring_returns_in_time(bench: Bench) -> None:
    consumer = bench.consumer(bench.topic())
    bench.assigned(consumer, n=1)

    began = time.monotonic()
    taken = consumer.take(10, 0.2)

    assert taken.messages == [] or tuple(taken.messages) == ()
    assert time.monotonic() - began < 2


# --- positions


def test_a_group_goes_on_where_it_committed(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(4)))
    first = bench.consumer(topic)
    bench.take(first, 3)
    first.commit({source: 2})
    first.close()

    second = bench.consumer(topic)

    assert values(bench.take(second, 2)) == [b"2", b"3"]
    assert second.committed([source]) == {source: 2}


def test_what_was_committed_beside_a_position_is_known_where_reading_goes_on(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    bench.produce(*(Record(topic, b"k", b"", partition=p) for p in (0, 1) for _ in range(3)))
    first = bench.consumer(topic)
    bench.take(first, 6)
    text = "1" + "~x" * 1500
    first.commit({one: 2}, {one: text})
    first.close()

    second = bench.consumer(topic)
    bench.take(second, 4)

    found = second.resumed_from([one, other, TopicPartition(topic, 7)])
    assert found == {one: OffsetAndMetadata(2, text), other: None}


def test_a_commit_without_a_text_forgets_the_one_before(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"") for _ in range(3)))
    first = bench.consumer(topic)
    bench.take(first, 3)
    first.commit({source: 1}, {source: "said"})
    first.commit({source: 1})
    first.close()

    second = bench.consumer(topic)
    bench.take(second, 2)

    assert second.resumed_from([source]) == {source: OffsetAndMetadata(1, "")}


def test_a_text_that_was_committed_since_is_not_where_reading_began(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"") for _ in range(3)))
    first = bench.consumer(topic)
    bench.take(first, 3)
    first.commit({source: 3}, {source: "said"})

    assert first.resumed_from([source]) == {source: None}


def test_a_position_that_was_never_committed_is_none(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=2)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer.commit({one: 0})

    assert consumer.committed([one, other]) == {one: 0, other: None}


def test_a_paused_assignment_delivers_nothing_until_it_is_opened(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(3)))
    consumer = bench.consumer(topic, paused=True)
    bench.assigned(consumer, n=1)
    assert bench.nothing(consumer)

    consumer.open({TopicPartition(topic, 0): 1})

    assert values(bench.take(consumer, 2)) == [b"1", b"2"]


def test_opening_without_a_position_begins_at_the_earliest(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(Record(topic, b"k", b"0"), Record(topic, b"k", b"1"))
    consumer = bench.consumer(topic, paused=True)
    bench.assigned(consumer, n=1)

    consumer.open({TopicPartition(topic, 0): None})

    assert values(bench.take(consumer, 2)) == [b"0", b"1"]


def test_opening_goes_back_to_what_was_delivered_before(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(3)))
    consumer = bench.consumer(topic)
    bench.take(consumer, 3)

    consumer.open({source: 1})

    assert values(bench.take(consumer, 2)) == [b"1", b"2"]


def test_a_paused_partition_is_silent_and_goes_on_where_it_stopped(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    loud, silent = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer = bench.consumer(topic)
    bench.assigned(consumer, n=2)
    consumer.pause([silent])
    bench.produce(Record(topic, b"a", b"", partition=1), Record(topic, b"b", b"", partition=0))

    assert [m.source for m in bench.take(consumer, 1)] == [loud]
    assert bench.nothing(consumer)

    consumer.resume([silent])

    assert [m.source for m in bench.take(consumer, 1)] == [silent]


# --- rebalances


def test_two_members_share_the_partitions_and_one_gets_them_all_back(bench: Bench) -> None:
    topic = bench.topic(partitions=4)
    first = bench.consumer(topic)
    alone = bench.assigned(first, n=4).assignment
    second = bench.consumer(topic)

    one, other = (taken.assignment for taken in bench.shared([first, second], [2, 2]))
    second.close()
    again = bench.assigned(first, n=4).assignment

    assert one.keys() | other.keys() == alone.keys() == again.keys()
    assert one.keys().isdisjoint(other.keys())


def test_a_partition_that_was_away_has_a_new_epoch(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    first = bench.consumer(topic)
    before = bench.assigned(first, n=2).assignment
    second = bench.consumer(topic)
    _, lent = bench.shared([first, second], [1, 1])
    second.close()

    after = bench.assigned(first, n=2).assignment

    (away,) = lent.assignment
    assert after[away] > before[away]


def test_messages_carry_the_epoch_that_the_assignment_says(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    bench.produce(*(Record(topic, b"", b"", partition=p) for p in (0, 1) for _ in range(5)))
    first, second = bench.consumer(topic), bench.consumer(topic)
    seen = 0
    deadline = time.monotonic() + PATIENCE_S
    while seen < 10 and time.monotonic() < deadline:
        for consumer in (first, second):
            taken = consumer.take(3, 0.05)
            for message in taken.messages:
                assert taken.assignment[message.source] == message.epoch
                seen += 1

    assert seen >= 10


def test_a_member_may_commit_while_its_partitions_go(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    bench.produce(*(Record(topic, b"", b"", partition=p) for p in (0, 1)))
    first = bench.consumer(topic)
    told: list[frozenset[TopicPartition]] = []

    def commit(going: frozenset[TopicPartition]) -> None:
        told.append(going)
        first.commit(dict.fromkeys(going, 1))

    first.on_revoke(commit)
    bench.take(first, 2)
    second = bench.consumer(topic)
    bench.shared([first, second], [1, 1])

    sources = {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    assert told[0] <= sources
    assert all(bench.committed(second, source) == 1 for source in told[0])
    assert bench.nothing(second)


# --- names


def test_a_second_process_under_a_name_ends_the_first(bench: Bench) -> None:
    topic = bench.topic()
    name = f"instance-{uuid4().hex[:8]}"
    first = bench.consumer(topic, instance=name)
    bench.assigned(first, n=1)
    second = bench.consumer(topic, instance=name)
    deadline = time.monotonic() + PATIENCE_S

    def both() -> None:
        while time.monotonic() < deadline:
            second.take(1, 0.05)
            first.take(1, 0.05)

    with pytest.raises(DuplicateNameError):
        both()
    bench.assigned(second, n=1)


def test_a_name_that_comes_back_gets_its_partitions_without_a_rebalance(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    name = f"instance-{uuid4().hex[:8]}"
    lost = bench.consumer(topic, instance=name)
    other = bench.consumer(topic, instance=f"{name}-other")
    _, before = bench.shared([lost, other], [1, 1])

    restarted = bench.consumer(topic, instance=name)
    bench.assigned(restarted, n=1)

    assert other.take(1, 0.2).assignment == before.assignment


@pytest.mark.slow
def test_a_closed_named_member_keeps_its_partitions_for_a_session(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    name = f"instance-{uuid4().hex[:8]}"
    first = bench.consumer(topic, instance=f"{name}-1")
    second = bench.consumer(topic, instance=f"{name}-2")
    bench.shared([first, second], [1, 1])
    closed_at = time.monotonic()
    second.close()

    bench.assigned(first, n=2)

    assert time.monotonic() - closed_at > 3


def test_the_position_of_a_replaced_process_is_not_taken(bench: Bench) -> None:
    topic = bench.topic()
    name = f"instance-{uuid4().hex[:8]}"
    first = bench.consumer(topic, instance=name)
    bench.assigned(first, n=1)
    second = bench.consumer(topic, instance=name)
    bench.assigned(second, n=1)

    with pytest.raises((FencedError, DuplicateNameError)):
        first.commit({TopicPartition(topic, 0): 7})
    assert bench.committed(second, TopicPartition(topic, 0)) is None


def test_what_two_groups_read_is_independent(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(Record(topic, b"k", b"v"))
    mine = bench.consumer(topic)
    bench.group += "-other"
    theirs = bench.consumer(topic)

    assert keys(bench.take(mine, 1)) == keys(bench.take(theirs, 1)) == [b"k"]


# --- retention


def test_a_loop_whose_unread_records_were_deleted_ends_and_says_what_was_lost(
    bench: Bench,
) -> None:
    topic = bench.topic()
    at = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % number) for number in range(9)))
    consumer = bench.consumer(topic, paused=True)
    bench.assigned(consumer, n=1)
    bench.trim(at, 7)
    consumer.open({at: 3})

    with pytest.raises(UnreadDeletedError, match=r"4 offsets, 3 to 6, were deleted") as caught:
        bench.take(consumer, 2)
    assert f"{topic}:0" in str(caught.value)
    assert "--to-offset 7" in str(caught.value)


def test_a_first_start_begins_at_the_first_record_there_is(bench: Bench) -> None:
    topic = bench.topic()
    at = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % number) for number in range(5)))
    bench.trim(at, 3)
    consumer = bench.consumer(topic, paused=True)
    bench.assigned(consumer, n=1)
    consumer.open({at: None})

    assert values(bench.take(consumer, 2)) == [b"3", b"4"]
    assert bench.reader.beginning(at) == 3
