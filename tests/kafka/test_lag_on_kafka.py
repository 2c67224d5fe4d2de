"""Lag on a genuine Kafka, beside a count by a reader of its own."""

from __future__ import annotations

import time
from contextlib import closing

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient

from caseworks.lag import PartitionLag, Surveyor
from events.broker import ConsumerSpec, Record, TopicPartition
from events.progress import Progress, encode
from events.settings import Settings
from events.topics import TopicSpec
from tests.kafka.kafka_world import WAIT_S, World, joined, read

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
}


class Bench:
    """One topic with one partition, one group, and a surveyor of it."""

    def __init__(self, world: World, config: dict[str, str] | None = None) -> None:
        self.world = world
        self.at = TopicPartition(f"{world.ns}.tasks.a", 0)
        self.group = f"{world.ns}.worker.a"
        world.admin.create([TopicSpec(self.at.topic, "key", 1, "test", config or {})])
        settings = Settings(namespace=world.ns)
        groups = {self.group: [self.at.topic]}
        self.surveyor = world.closing(Surveyor(world.broker, settings, groups))
        self.reader = world.closing(world.broker.reader())
        self.writers = 0

    def put(self, n: int, *, key: bytes = b"k") -> None:
        self.world.put(*(Record(self.at.topic, key, b"v", (), 0) for _ in range(n)))

    def transaction(self, n: int, *, commit: bool = True) -> None:
        self.writers += 1
        writer = self.world.broker.transactional(f"{self.world.ns}-{self.writers}")
        with closing(writer):
            writer.init()
            writer.begin()
            arrived = self.end() + n
            writer.produce([Record(self.at.topic, b"k", b"v", (), 0)] * n)
            if commit:
                writer.commit()
                return
            self.until_end(arrived)  # else there is nothing to abort
            writer.abort()

    def end(self) -> int:
        return self.reader.end(self.at, committed=False)

    def until_end(self, end: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.end() < end:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def commit(self, progress: Progress) -> None:
        spec = ConsumerSpec(self.group, (self.at.topic,))
        with closing(self.world.broker.consumer(spec)) as consumer:
            joined(consumer)
            consumer.commit({self.at: progress.offset}, {self.at: encode(progress)})

    def look(self) -> PartitionLag:
        [group] = self.surveyor.look().groups
        [found] = group.partitions
        return found

    def offsets(self, start: int) -> list[int]:
        """What a committed reader is given from there on, by a client that is none of ours."""
        client = ck.Consumer(
            {
                "bootstrap.servers": self.world.bootstrap,
                "group.id": f"{self.group}.reader",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        client.assign([ck.TopicPartition(*self.at, start)])
        found: list[int] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            message = client.poll(0.5)
            if message is None:
                continue
            error, offset = message.error(), message.offset()
            if error is not None:
                assert error.code() == ck.KafkaError._PARTITION_EOF
                client.close()
                return found
            assert offset is not None
            found.append(offset)
        raise AssertionError("the partition did not end")


def test_transactions_count_by_their_records(world: World) -> None:
    bench = Bench(world)
    bench.transaction(3)
    bench.transaction(5, commit=False)
    bench.transaction(1)

    found = bench.look()

    assert (found.end, found.stable, found.committed) == (12, 12, None)
    assert found.lag == len(bench.offsets(0)) == 4
    assert found.exact

    bench.commit(Progress(11, 11))

    assert (bench.look().lag, bench.offsets(11)) == (0, [])  # the marker alone


def test_what_an_open_transaction_hides_is_no_lag(world: World) -> None:
    bench = Bench(world)
    bench.put(2)
    writer = world.closing(world.broker.transactional(f"{world.ns}-open"))
    writer.init()
    writer.begin()
    writer.produce([Record(bench.at.topic, b"k", b"v", (), 0)] * 3)
    bench.until_end(5)
    bench.put(4)

    found = bench.look()

    assert (found.lag, found.hidden, found.stable, found.end) == (2, 7, 2, 9)
    assert found.lag == len(bench.offsets(0))

    writer.commit()
    bench.put(1)

    assert bench.look().lag == len(bench.offsets(0)) == 10
    assert bench.look().hidden == 0


def test_what_is_done_out_of_order_is_not_behind(world: World) -> None:
    bench = Bench(world)
    bench.transaction(6)
    bench.transaction(6)
    [head] = bench.reader.read(bench.at, 2, 1).messages
    progress = Progress(2, 9, (2, 5), head_ms=head.timestamp_ms, seen=11)
    bench.commit(progress)

    found = bench.look()

    left = [offset for offset in bench.offsets(2) if not progress.finished(offset)]
    assert left == [2, 5, 9, 10, 11, 12]
    assert (found.lag, found.done_ahead, found.in_flight, found.undelivered) == (6, 4, 4, 2)
    assert found.oldest_age_s == pytest.approx(time.time() - head.timestamp_ms / 1000, abs=5)


def test_a_member_and_what_it_owns_are_seen(world: World) -> None:
    bench = Bench(world)
    bench.put(2)
    consumer = world.broker.consumer(ConsumerSpec(bench.group, (bench.at.topic,)))
    with closing(consumer):
        read(consumer, 2)
        [group] = bench.surveyor.look().groups
        assert (group.members, group.unowned, group.partitions[0].owned) == (1, 0, True)
    [group] = bench.surveyor.look().groups
    assert (group.members, group.unowned) == (0, 1)


def test_a_topic_made_anew_is_a_rewind(world: World) -> None:
    bench = Bench(world)
    bench.put(8)
    bench.commit(Progress(8, 8))
    assert bench.look().lag == 0
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for future in admin.delete_topics([bench.at.topic], operation_timeout=WAIT_S).values():
        future.result(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while bench.at.topic in world.admin.topics() and time.monotonic() < deadline:
        time.sleep(0.05)
    fresh = Bench(world)  # a deletion takes the group's positions on it along
    fresh.put(3)
    committer = ck.Consumer({"bootstrap.servers": world.bootstrap, "group.id": fresh.group})
    committer.commit(offsets=[ck.TopicPartition(*fresh.at, 8)], asynchronous=False)
    committer.close()

    for each in (bench, fresh):
        found = each.look()
        assert (found.state, found.committed, found.end) == ("REWIND", 8, 3)
        assert found.lag == len(fresh.offsets(0)) == 3


@pytest.mark.slow
def test_compaction_leaves_gaps_that_are_no_lag(world: World) -> None:
    bench = Bench(world, COMPACTED)
    for _ in range(4):
        bench.put(10, key=b"same")
        time.sleep(0.2)
    bench.put(1, key=b"last")
    deadline = time.monotonic() + 60
    while len(bench.offsets(0)) > 35:
        assert time.monotonic() < deadline, "the broker has not compacted"
        bench.put(1, key=b"last")
        time.sleep(0.5)

    left = bench.offsets(3)
    bench.commit(Progress(3, 3))
    found = Bench(world).look()

    assert found.lag == len(left) < found.end - 3
