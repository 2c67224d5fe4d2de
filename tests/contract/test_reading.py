"""Reading logs outside of groups, producing without transactions, topics and groups."""

from __future__ import annotations

import pytest

from events.broker import GroupLag, Record, TopicPartition
from events.errors import SetupError
from events.topics import TopicSpec
from tests.contract.bench import PATIENCE_S, Bench, values


def test_an_empty_log_begins_where_it_ends(bench: Bench) -> None:
    source = TopicPartition(bench.topic(), 0)

    assert bench.reader.beginning(source) == 0
    assert bench.reader.end(source, committed=False) == 0
    assert bench.reader.read(source, 0, 10).next_offset == 0


def test_a_slice_holds_what_was_asked_for_and_says_where_to_go_on(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(5)))

    first = bench.reader.read(source, 1, 2)
    rest = bench.reader.read(source, first.next_offset, 100)

    assert values(first.messages) == [b"1", b"2"]
    assert values(rest.messages) == [b"3", b"4"]
    assert rest.next_offset == 5


def test_reading_goes_on_after_a_rest(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(*(Record(topic, b"k", b"%d" % n) for n in range(5)))

    first = bench.reader.read(source, 0, 2)
    bench.reader.rest()
    bench.reader.rest()
    again = bench.reader.read(source, first.next_offset, 100)

    assert values(again.messages) == [b"2", b"3", b"4"]


def test_reading_passes_markers_and_aborted_records_up_to_the_stable_offset(bench: Bench) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    producer = bench.transactional()
    for value in (b"1", b"2"):
        bench.write(producer, Record(topic, b"k", value))
    producer.begin()
    producer.produce([Record(topic, b"k", b"aborted")])
    bench.until(lambda: bench.reader.end(source, committed=False) == 5)
    producer.abort()
    bench.until(lambda: bench.reader.end(source, committed=True) == 6)

    assert values(bench.read(source)) == [b"1", b"2"]
    behind = bench.reader.read(source, 4, 10)
    assert (list(behind.messages), behind.next_offset) == ([], 6)


def test_several_partitions_are_read_at_once_to_their_ends(bench: Bench) -> None:
    topic = bench.topic(partitions=3)
    one, two, empty = (TopicPartition(topic, p) for p in range(3))
    producer = bench.transactional()
    bench.write(producer, *(Record(topic, b"", b"%d" % n, partition=0) for n in range(5)))
    bench.write(producer, *(Record(topic, b"", b"%d" % n, partition=1) for n in range(4)))
    bench.until(lambda: bench.reader.end(two, committed=True) == 5)

    offsets = {one: 1, two: 0, empty: 0}
    read: dict[TopicPartition, list[bytes | None]] = {source: [] for source in offsets}
    for _ in range(20):
        slices = bench.reader.read_many(offsets, 3)
        assert slices.keys() == offsets.keys()
        assert sum(len(piece.messages) for piece in slices.values()) <= 3
        for source, piece in slices.items():
            read[source] += values(piece.messages)
            offsets[source] = piece.next_offset

    assert offsets == {one: 6, two: 5, empty: 0}
    assert read == {one: [b"1", b"2", b"3", b"4"], two: [b"0", b"1", b"2", b"3"], empty: []}


def test_the_high_watermark_counts_open_transactions_and_the_stable_offset_does_not(
    bench: Bench,
) -> None:
    topic = bench.topic()
    source = TopicPartition(topic, 0)
    bench.produce(Record(topic, b"k", b"0"))
    producer = bench.transactional()
    producer.begin()
    producer.produce([Record(topic, b"k", b"open")])
    bench.until(lambda: bench.reader.end(source, committed=False) == 2)

    assert bench.reader.end(source, committed=True) == 1
    assert values(bench.reader.read(source, 0, 10).messages) == [b"0"]
    waiting = bench.reader.read(source, 1, 10)
    assert (list(waiting.messages), waiting.next_offset) == ([], 1)


# --- producing


def test_every_record_gets_one_report(bench: Bench) -> None:
    topic = bench.topic()
    reports: list[Exception | None] = []
    for n in range(20):
        bench.producer.produce(Record(topic, b"k", b"%d" % n), reports.append)

    assert bench.producer.flush(PATIENCE_S) == 0
    assert reports == [None] * 20


def test_reports_that_arrived_are_served_by_polling(bench: Bench) -> None:
    topic = bench.topic()
    reports: list[Exception | None] = []
    bench.producer.produce(Record(topic, b"k", b"v"), reports.append)

    def reported() -> bool:
        bench.producer.poll()
        return bool(reports)

    bench.until(reported)

    assert reports == [None]


def test_a_record_over_the_topics_limit_is_reported(bench: Bench) -> None:
    topic = bench.topic(config={"max.message.bytes": "2000"})
    reports: list[Exception | None] = []
    bench.producer.produce(Record(topic, b"k", bytes(range(250)) * 20), reports.append)
    bench.producer.flush(PATIENCE_S)

    assert len(reports) == 1
    assert reports[0] is not None
    assert bench.reader.end(TopicPartition(topic, 0), committed=False) == 0


# --- topics and groups


def test_topics_are_made_once_and_it_says_which(bench: Bench) -> None:
    old = TopicSpec(bench.topic(partitions=2), "", 5, "")
    new = TopicSpec(f"{old.name}-new", "", 3, "", {"cleanup.policy": "compact"})

    assert bench.admin.create([old, new]) == (new.name,)
    assert bench.admin.create([old, new]) == ()

    topics = bench.admin.topics()
    assert topics[old.name].partitions == 2
    assert topics[new.name].partitions == 3
    assert topics[new.name].config["cleanup.policy"] == "compact"


def test_lag_and_members_of_a_group(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    bench.produce(*(Record(topic, b"", b"", partition=0) for _ in range(3)))
    consumer = bench.consumer(topic)
    bench.take(consumer, 3)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer.commit({one: 2})

    assert bench.admin.members(bench.group) == 1
    assert bench.admin.lag(bench.group) == (GroupLag(one, 2, 3), GroupLag(other, None, 0))
    asked = bench.admin.lag(bench.group, topics=[topic])
    assert asked == (GroupLag(one, 2, 3), GroupLag(other, None, 0))

    consumer.close()
    bench.until(lambda: bench.admin.members(bench.group) == 0)
    assert bench.admin.lag(bench.group) == (GroupLag(one, 2, 3),)


def test_an_unknown_group_has_no_members_and_no_lag(bench: Bench) -> None:
    assert bench.admin.members(bench.group) == 0
    assert bench.admin.lag(bench.group) == ()


def test_a_topic_that_appears_later_is_consumed(bench: Bench) -> None:
    later = f"{bench.topic()}-later"
    consumer = bench.consumer(later)
    bench.admin.create([TopicSpec(later, "", 1, "")])
    bench.produce(Record(later, b"k", b"v"))

    assert values(bench.take(consumer, 1)) == [b"v"]


def test_a_topic_has_an_identity_of_its_own(bench: Bench) -> None:
    one, other = bench.topic(), bench.topic()

    assert bench.admin.identity(one) == bench.admin.identity(one)
    assert bench.admin.identity(one) != bench.admin.identity(other)
    with pytest.raises(SetupError):
        bench.admin.identity("nowhere")


def test_the_ends_of_many_partitions_are_those_of_each(bench: Bench) -> None:
    topic = bench.topic(partitions=3)
    sources = [TopicPartition(topic, partition) for partition in range(3)]
    producer = bench.transactional()
    bench.write(producer, *(Record(topic, b"", b"%d" % n, partition=0) for n in range(5)))
    bench.until(lambda: bench.reader.end(sources[0], committed=True) == 6)
    producer.begin()
    producer.produce([Record(topic, b"", b"open", partition=2)])
    bench.until(lambda: bench.reader.end(sources[2], committed=False) == 1)

    assert list(bench.reader.ends(sources, committed=True).values()) == [6, 0, 0]
    assert list(bench.reader.ends(sources, committed=False).values()) == [6, 0, 1]
    assert bench.reader.ends((), committed=True) == {}
