"""What measuring lag asks of a broker: bounds, positions with their texts, and rosters."""

from __future__ import annotations

from events.broker import OffsetAndMetadata, Record, Roster, TopicPartition
from tests.contract.bench import Bench


def test_the_bounds_of_many_end_before_an_open_transaction(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    bench.produce(Record(topic, b"", b"", partition=0))
    writer = bench.transactional()
    writer.begin()
    writer.produce([Record(topic, b"", b"", partition=0), Record(topic, b"", b"", partition=1)])
    reader = bench.reader
    bench.until(lambda: reader.end(other, committed=False) == 1)

    assert reader.bounds([one, other]) == {one: (0, 1), other: (0, 0)}
    assert reader.bounds([one]) == {one: (0, 1)}

    writer.commit()
    bench.until(lambda: reader.bounds([one, other]) == {one: (0, 3), other: (0, 2)})


def test_positions_come_with_the_text_beside_them(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    bench.produce(*(Record(topic, b"", b"", partition=0) for _ in range(3)))
    assert bench.admin.positions(bench.group, [topic]) == {one: None, other: None}
    consumer = bench.consumer(topic)
    bench.take(consumer, 3)
    consumer.commit({one: 2}, {one: "a text"})

    said = {one: OffsetAndMetadata(2, "a text"), other: None}
    assert bench.admin.positions(bench.group, [topic, "nowhere"]) == said

    consumer.commit({one: 3})
    assert bench.admin.positions(bench.group, [topic])[one] == OffsetAndMetadata(3, "")


def test_a_roster_says_who_is_there_and_what_they_have(bench: Bench) -> None:
    topic = bench.topic(partitions=2)
    assert bench.admin.roster(bench.group) == Roster()
    bench.produce(Record(topic, b"", b"", partition=0))
    consumer = bench.consumer(topic)
    bench.take(consumer, 1)

    owned = frozenset({TopicPartition(topic, 0), TopicPartition(topic, 1)})
    assert bench.admin.roster(bench.group) == Roster(1, owned)

    consumer.close()
    bench.until(lambda: bench.admin.roster(bench.group) == Roster())
