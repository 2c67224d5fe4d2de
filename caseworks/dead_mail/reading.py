"""Finding dead letters: a batch at a time, decoding only those that are shown."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from caseworks.dead_mail.letters import (
    DLQ,
    Dead,
    case_id_of,
    dead_of,
    kind_of,
    place_of,
    read_place,
)
from caseworks.dead_mail.selection import Sieve
from caseworks.scan import dead_letter_topics, partition_counts, partitions_of, records
from events.broker import Broker, LogReader, Message, TopicPartition
from events.errors import SetupError
from events.settings import Settings

Skip = Container[str]
"""Places that are left out: letters that were handled already."""


def sources_of(broker: Broker, settings: Settings, sieve: Sieve) -> list[TopicPartition]:
    """The partitions in which letters that are meant may lie."""
    counts = partition_counts(broker)
    topics = dead_letter_topics(counts, settings.topics)
    return partitions_of(counts, filter(sieve.takes_topic, topics))


def newest(
    broker: Broker, settings: Settings, sieve: Sieve, limit: int, skip: Skip = (), *, whole: bool
) -> tuple[list[Dead], int]:
    """The newest so many letters that are meant, the newest last; and how many are meant.

    Only *whole* ones hold their value: a list needs none, and it may be large.
    """
    count, kept = 0, list[tuple[int, int, int, Message]]()
    for message in within(broker, sieve, skip, bounds_of(broker, settings, sieve)):
        count += 1
        held = message if whole else message._replace(value=None)
        entry = (message.timestamp_ms, message.offset, count, held)
        if len(kept) < limit:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
    return [dead_of(entry[-1]) for entry in sorted(kept)], count


@dataclass(frozen=True, slots=True)
class Bounds:
    """A stretch of the dead-letter topics: from where, and up to where, by partition."""

    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


def bounds_of(broker: Broker, settings: Settings, sieve: Sieve) -> Bounds:
    """Everything that lies in the topics of a selection now."""
    sources = sources_of(broker, settings, sieve)
    with closing(broker.reader()) as reader:
        ends = {each: reader.end(each, committed=True) for each in sources}
    return Bounds(dict.fromkeys(sources, 0), ends)


def within(broker: Broker, sieve: Sieve, skip: Skip, bounds: Bounds) -> Iterator[Message]:
    """Every record of a stretch that is meant, partition by partition."""
    with closing(broker.reader()) as reader:
        for source, end in bounds.ends.items():
            for message in upto(reader, source, bounds.starts[source], end):
                if sieve.takes(message) and place_of(message) not in skip:
                    yield message


@dataclass(slots=True)
class Survey:
    """What a selection holds before anything is done about it."""

    bounds: Bounds
    """Where it ends: what dies later is none of its business."""
    count: int = 0
    case_ids: set[str] = field(default_factory=set)
    """The cases of its tasks."""


def survey(broker: Broker, settings: Settings, sieve: Sieve, skip: Skip, bounds: Bounds) -> Survey:
    """Look through a selection."""
    found = Survey(bounds)
    for message in within(broker, sieve, skip, bounds):
        found.count += 1
        if kind_of(message.topic, settings.topics) == "task":
            found.case_ids.add(case_id_of(message, "task"))
    return found


def upto(reader: LogReader, source: TopicPartition, start: int, end: int) -> Iterator[Message]:
    """The records of a partition before an offset."""
    for message in records(reader, source, start):
        if message.offset >= end:
            return
        yield message


def find(broker: Broker, place: str) -> Dead:
    """The dead letter of that name. Raises `SetupError` when it is not there."""
    source, offset = read_place(place)
    message = None
    if source.topic.endswith(DLQ):
        partitions = len(partitions_of(partition_counts(broker), [source.topic]))
        if source.partition < partitions:
            with closing(broker.reader()) as reader:
                message = _at(reader, source, offset)
    if message is None:
        raise SetupError(f"there is no dead letter {place}", hint="caseworks dlq list")
    return dead_of(message)


def _at(reader: LogReader, source: TopicPartition, offset: int) -> Message | None:
    if offset < reader.beginning(source):
        return None
    for message in records(reader, source, offset):
        return message if message.offset == offset else None
    return None


def case_of(dead: Dead, settings: Settings) -> str:
    """The case that a letter is about; empty: it does not say."""
    return case_id_of(dead.message, kind_of(dead.message.topic, settings.topics))
