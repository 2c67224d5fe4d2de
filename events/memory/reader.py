"""Reading outside of groups, and looking after topics and groups."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from events.broker import (
    GroupLag,
    LogSlice,
    OffsetAndMetadata,
    Roster,
    TopicPartition,
    TopicState,
)
from events.errors import FatalBrokerError, SetupError
from events.memory.link import Link
from events.memory.log import PartitionLog
from events.topics import TopicSpec


class MemoryLogReader:
    """`events.broker.LogReader` on the modelled cluster; never waits."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._cluster = link.cluster

    def end(self, source: TopicPartition, *, committed: bool) -> int:
        with self._cluster.lock:
            log = self._log(source)
            return log.stable if committed else log.end

    def ends(
        self, sources: Collection[TopicPartition], *, committed: bool
    ) -> dict[TopicPartition, int]:
        return {source: self.end(source, committed=committed) for source in sources}

    def beginning(self, source: TopicPartition) -> int:
        with self._cluster.lock:
            return self._log(source).first

    def bounds(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return {each: (self.beginning(each), self.end(each, committed=True)) for each in sources}

    def read(self, source: TopicPartition, offset: int, n: int) -> LogSlice:
        with self._cluster.lock:
            return self._log(source).read(offset, n)

    def read_many(
        self, offsets: Mapping[TopicPartition, int], n: int
    ) -> dict[TopicPartition, LogSlice]:
        found: dict[TopicPartition, LogSlice] = {}
        for source, offset in offsets.items():
            found[source] = self.read(source, offset, n) if n > 0 else LogSlice((), offset)
            n -= len(found[source].messages)
        return found

    def rest(self) -> None:
        """Nothing is fetched ahead."""

    def close(self) -> None:
        """Nothing to free."""

    def _log(self, source: TopicPartition) -> PartitionLog:
        self._link.enter()
        log = self._cluster.log(source)
        if log is None:
            raise FatalBrokerError(f"there is no partition {source.partition} of {source.topic}")
        return log


class MemoryAdmin:
    """`events.broker.Admin` on the modelled cluster."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._cluster = link.cluster

    def topics(self) -> dict[str, TopicState]:
        with self._cluster.lock:
            self._link.enter()
            return {name: topic.state for name, topic in self._cluster.topics.items()}

    def identity(self, topic: str) -> str:
        with self._cluster.lock:
            self._link.enter()
            if topic not in self._cluster.topics:
                raise SetupError(f"there is no topic {topic}")
            return f"{id(self._cluster)}/{topic}"

    def create(self, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
        with self._cluster.lock:
            self._link.enter()
            return self._cluster.create(specs)

    def lag(self, group: str, *, topics: Sequence[str] | None = None) -> tuple[GroupLag, ...]:
        with self._cluster.lock:
            self._link.enter()
            known = self._cluster.groups.get(group)
            sources = {
                TopicPartition(name, number)
                for name in topics or ()
                if (topic := self._cluster.topics.get(name)) is not None
                for number in range(topic.state.partitions)
            }
            if known is not None and topics is None:
                sources = {tp for parts in known.assignment.values() for tp in parts}
                sources |= known.offsets.settled.keys()
            return tuple(
                GroupLag(tp, known.offsets.position(tp) if known else None, log.end)
                for tp in sorted(sources)
                if (log := self._cluster.log(tp)) is not None
            )

    def positions(
        self, group: str, topics: Sequence[str]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        with self._cluster.lock:
            self._link.enter()
            known = self._cluster.groups.get(group)
            return {
                source: known.offsets.committed(source) if known else None
                for name in sorted(set(topics) & self._cluster.topics.keys())
                for number in range(self._cluster.topics[name].state.partitions)
                if (source := TopicPartition(name, number))
            }

    def members(self, group: str) -> int:
        with self._cluster.lock:
            self._link.enter()
            known = self._cluster.groups.get(group)
            return 0 if known is None else len(known.members)

    def roster(self, group: str) -> Roster:
        with self._cluster.lock:
            self._link.enter()
            known = self._cluster.groups.get(group)
            if known is None:
                return Roster()
            owned = (tp for parts in known.assignment.values() for tp in parts)
            return Roster(len(known.members), frozenset(owned))

    def close(self) -> None:
        """Nothing to free."""
