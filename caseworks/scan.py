"""Reading topics from outside of every group: once to their end, or on and on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from events.broker import Broker, ConsumerSpec, LogReader, Message, TopicPartition
from events.errors import RetriableError, SetupError
from events.topics import Topics

SLICE = 1000
T = TypeVar("T")
POLL_S = 0.02
TRIES_MAX = 3


def partition_counts(broker: Broker) -> dict[str, int]:
    """Partitions of every topic by name. Raises `SetupError` if the broker is not there."""
    with closing(broker.admin()) as admin:
        return {name: state.partitions for name, state in admin.topics().items()}


def partitions_of(counts: Mapping[str, int], topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of these topics. Raises `SetupError` naming the first that is missing."""
    named = list(topics)
    for topic in named:
        if topic not in counts:
            raise SetupError(f"there is no topic {topic}", hint="caseworks topics create")
    return [TopicPartition(topic, each) for topic in named for each in range(counts[topic])]


def topics_below(counts: Mapping[str, int], prefix: str, suffix: str = "") -> list[str]:
    """The topics that begin with *prefix* and end with *suffix*."""
    return sorted(name for name in counts if name.startswith(prefix) and name.endswith(suffix))


def results_topics(counts: Mapping[str, int], topics: Topics) -> list[str]:
    """The result topics of a namespace."""
    return topics_below(counts, topics.results(""))


def dead_letter_topics(counts: Mapping[str, int], topics: Topics) -> list[str]:
    """The dead-letter topics of a namespace."""
    return topics_below(counts, f"{topics.namespace}.", topics.dlq(""))


def records(reader: LogReader, source: TopicPartition, start: int = 0) -> Iterator[Message]:
    """The committed records of a partition, from an offset up to its end as of now."""
    end = reader.end(source, committed=True)
    position = max(start, reader.beginning(source))
    tries = 0
    while position < end:
        try:
            found = reader.read(source, position, SLICE)
        except RetriableError:
            tries += 1
            if tries == TRIES_MAX:
                raise
            continue
        tries = 0
        yield from (message for message in found.messages if message.offset < end)
        if found.next_offset <= position:
            return
        position = found.next_offset


@dataclass(slots=True)
class Tail:
    """Reads a few partitions on and on, in turn; owned by one thread."""

    reader: LogReader
    positions: dict[TopicPartition, int]

    @classmethod
    def at_end(cls, reader: LogReader, sources: Iterable[TopicPartition]) -> Tail:
        """From what comes next on."""
        return cls(reader, {each: reader.end(each, committed=True) for each in sources})

    def poll(self) -> list[Message]:
        """What came since the last time; waits for nothing longer than one read does."""
        found: list[Message] = []
        for source, position in self.positions.items():
            part = self.reader.read(source, position, SLICE)
            self.positions[source] = max(position, part.next_offset)
            found += part.messages
        return found

    def until(self, found: Callable[[Message], T], timeout_s: float) -> T | None:
        """What *found* makes of the first message that says it; `None` when none did in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            for message in self.poll():
                if (said := found(message)) is not None:
                    return said
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_S)


class Follower:
    """Reads whole topics on and on as a group of its own that nobody joins and nothing remembers.

    Example: `with closing(Follower(broker, topics, ends)) as seen: seen.take(0.5)`.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Iterable[str],
        starts: Mapping[TopicPartition, int] | None = None,
        *,
        namespace: str,
    ) -> None:
        """*starts*: where to begin; partitions that it does not name from their beginning."""
        self._starts = dict(starts or {})
        self._opened: set[TopicPartition] = set()
        self._consumer = broker.consumer(
            ConsumerSpec(
                group=f"{namespace}.reader.{uuid4().hex}",
                topics=tuple(topics),
                paused_on_assign=True,
            )
        )

    def take(self, timeout_s: float, n: int = SLICE) -> list[Message]:
        """Up to *n* records; waits at most *timeout_s* for the first."""
        taken = self._consumer.take(n, timeout_s)
        new = taken.assignment.keys() - self._opened
        if new:
            self._consumer.open({each: self._starts.get(each) for each in new})
            self._opened |= new
        return list(taken.messages)

    @property
    def assigned(self) -> bool:
        """Whether it has begun to read."""
        return bool(self._opened)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def ends(broker: Broker, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each partition ends for a committed reader, now."""
    with closing(broker.reader()) as reader:
        return {source: reader.end(source, committed=True) for source in sources}
