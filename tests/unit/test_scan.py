from __future__ import annotations

from contextlib import closing

import pytest

from caseworks.scan import Follower, Tail, ends, partition_counts, partitions_of, records
from events.broker import Record, TopicPartition
from events.errors import SetupError
from events.memory import MemoryBroker
from events.topics import TopicSpec

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.admin().create([TopicSpec("t", "", 2, "")])
    return made


def produce(broker: MemoryBroker, *values: bytes, partition: int = 0) -> None:
    producer = broker.producer()
    for value in values:
        producer.produce(Record("t", b"k", value, partition=partition))
    producer.flush(5)


def test_a_partition_is_read_up_to_its_end_as_of_now(broker: MemoryBroker) -> None:
    produce(broker, b"a", b"b")
    reader = broker.reader()
    found = records(reader, T0)
    assert next(found).value == b"a"
    produce(broker, b"c")
    assert [message.value for message in found] == [b"b"]
    assert [message.value for message in records(reader, T0, start=2)] == [b"c"]
    assert list(records(reader, T1)) == []


def test_what_a_transaction_has_not_committed_is_not_read(broker: MemoryBroker) -> None:
    writer = broker.transactional("w")
    writer.init()
    writer.begin()
    writer.produce([Record("t", b"k", b"open", partition=0)])
    assert list(records(broker.reader(), T0)) == []
    writer.commit()
    assert [message.value for message in records(broker.reader(), T0)] == [b"open"]


def test_a_topic_that_is_missing_is_named(broker: MemoryBroker) -> None:
    with pytest.raises(SetupError, match=r"there is no topic nowhere"):
        partitions_of(partition_counts(broker), ["nowhere"])


def test_a_tail_reads_only_what_comes(broker: MemoryBroker) -> None:
    produce(broker, b"old")
    tail = Tail.at_end(broker.reader(), [T0, T1])
    assert tail.poll() == []
    produce(broker, b"new")
    produce(broker, b"other", partition=1)
    assert [message.value for message in tail.poll()] == [b"new", b"other"]
    assert tail.poll() == []


def test_a_follower_begins_where_it_is_told(broker: MemoryBroker) -> None:
    produce(broker, b"old")
    starts = ends(broker, [T0])
    produce(broker, b"new")
    produce(broker, b"whole", partition=1)
    found: list[bytes | None] = []
    with closing(Follower(broker, ["t"], starts, namespace="cw")) as follower:
        for _ in range(20):
            found += [message.value for message in follower.take(0.05)]
            if len(found) == 2:
                break
    assert sorted(map(str, found)) == ["b'new'", "b'whole'"]
