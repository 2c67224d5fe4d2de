"""The broker itself: `MemoryBroker`, and `connect` for one more process on the same cluster."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from events.broker import ConsumerSpec, Features, TopicPartition
from events.errors import SetupError
from events.memory.cluster import Clock, Cluster, Limits, Marker
from events.memory.consumer import MemoryConsumer
from events.memory.faults import Dice
from events.memory.groups import Group
from events.memory.link import Link
from events.memory.log import PartitionLog
from events.memory.producers import MemoryProducer, MemoryTransactionalProducer
from events.memory.reader import MemoryAdmin, MemoryLogReader


class MemoryConnection:
    """`events.broker.Broker` for one process; `link` is what a kill cuts."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.link = Link(cluster, name)
        self.features = Features(virtual_clock=not cluster.waits, late_markers=True)

    def consumer(self, spec: ConsumerSpec) -> MemoryConsumer:
        with self.cluster.lock:
            self.link.enter()
            return MemoryConsumer(self.link, spec)

    def producer(self, *, ordered: bool = True) -> MemoryProducer:
        del ordered  # it always keeps the order
        with self.cluster.lock:
            self.link.enter()
            return MemoryProducer(self.link)

    def transactional(self, transactional_id: str) -> MemoryTransactionalProducer:
        with self.cluster.lock:
            self.link.enter()
            return MemoryTransactionalProducer(self.link, transactional_id)

    def reader(self) -> MemoryLogReader:
        return MemoryLogReader(self.link)

    def admin(self) -> MemoryAdmin:
        return MemoryAdmin(self.link)


class MemoryBroker(MemoryConnection):
    """A modelled Kafka cluster in this process. Thread-safe.

    Args:
        clock: Seconds since the epoch. Without one it is the wall clock and takes wait in wall
            time; with one nothing ever waits: a take returns at once, and sessions and
            transactions expire when the clock says so.
        dice: Decides faults and weather; without, the cluster is quiet.
        limits: The broker's time-outs and sizes.

    Example: `MemoryBroker().admin().create([TopicSpec("t", "", 1, "")])`
    """

    def __init__(
        self, clock: Clock | None = None, *, dice: Dice | None = None, limits: Limits | None = None
    ) -> None:
        waits = clock is None
        super().__init__(
            Cluster(clock or time, waits=waits, dice=dice, limits=limits or Limits()), "main"
        )

    def connect(self, name: str) -> MemoryConnection:
        """The same cluster for one more process, which can be killed and stopped by its link."""
        return MemoryConnection(self.cluster, name)

    # --- what tests and simulations do to the cluster

    def hold_markers(self, *, hold: bool = True) -> None:
        """From now on keep markers of decided transactions back, until `write_marker`."""
        with self.cluster.lock:
            self.cluster.hold_markers = hold

    @property
    def markers(self) -> Sequence[Marker]:
        """Markers that are held back."""
        return tuple(self.cluster.markers)

    def write_marker(self, marker: Marker) -> None:
        """Let one marker arrive."""
        with self.cluster.lock:
            self.cluster.markers.remove(marker)
            self.cluster.write(marker)

    def write_markers(self) -> None:
        """Let all markers arrive."""
        with self.cluster.lock:
            self.cluster.settle()

    def compact(self, topic: str) -> int:
        """Compact every partition of a topic now; returns how many records went."""
        with self.cluster.lock:
            if topic not in self.cluster.topics:
                raise SetupError(f"there is no topic {topic}")
            return sum(log.compact() for log in self.cluster.topics[topic].logs)

    def trim(self, source: TopicPartition, first: int) -> None:
        """Delete what stands before this offset, as retention does."""
        with self.cluster.lock:
            log = self.log(source)
            for offset in range(log.first, first):
                log.entries[offset] = None
            log.first = max(log.first, first)

    def rebalance(self, group: str, *, rotate: int = 0) -> None:
        """Make all members rejoin; `rotate` shifts who gets which range."""
        with self.cluster.lock:
            known = self.cluster.group(group)
            known.rotation += rotate
            known.rebalance()
            self.cluster.changed()

    def log(self, source: TopicPartition) -> PartitionLog:
        """The partition itself, for checks that look at more than a reader sees."""
        log = self.cluster.log(source)
        if log is None:
            raise SetupError(f"there is no partition {source.partition} of {source.topic}")
        return log

    def group(self, name: str) -> Group:
        """The group itself, for the same."""
        return self.cluster.group(name)
