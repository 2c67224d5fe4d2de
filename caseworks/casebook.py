"""What can be known of cases from their changelog and their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from caseworks.client import Delivered, delivered
from caseworks.scan import partition_counts, partitions_of, records, results_topics
from events.broker import Broker, LogReader, Message, TopicPartition
from events.errors import SetupError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.lean_case import CLOSED, Case, ClosedCase

STATES_MAX = 500
"""Of one case: what is drawn of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A case: its last whole state, its mark when closed, its results in order."""

    case_id: str
    case: Case | None = None
    closed: ClosedCase | None = None
    results: tuple[Delivered, ...] = ()
    states: tuple[tuple[Case, float], ...] = ()
    """Its whole states that are still kept, the newest, each with when it was written."""

    @property
    def status(self) -> str:
        """The newest that is known."""
        if self.results:
            return self.results[-1].result.status
        if self.closed is not None:
            return self.closed.status
        return self.case.status if self.case is not None else "unknown"


def read_state(message: Message) -> Case | ClosedCase | None:
    """A record of `cases`; `None` for what is no case, and for a tombstone."""
    if message.key is None or message.value is None or not _names_a_case(message.key):
        return None
    if b'"event"' in message.value:
        return Case.from_json(message.value)
    return ClosedCase.from_json(message.value)


def _names_a_case(key: bytes) -> bool:
    """Not a note of the partition, an entity of its own, nor a part of a case."""
    return not key.startswith((b"\0", b"@")) and b"/" not in key


def find(broker: Broker, settings: Settings, case_id: str) -> Found | None:
    """Everything about one case; `None` when nobody ever heard of it."""
    counts = partition_counts(broker)
    topics = settings.topics
    [source] = _home(counts, topics.cases, case_id)
    case: Case | None = None
    closed: ClosedCase | None = None
    states: deque[tuple[Case, float]] = deque(maxlen=STATES_MAX)
    with closing(broker.reader()) as reader:
        for message in records(reader, source):
            if message.key == case_id.encode():
                match read_state(message):
                    case Case() as found:
                        case, closed = found, None
                        states.append((found, message.timestamp_ms / 1000))
                    case ClosedCase() as found:
                        closed = found
                    case None:  # its tombstone
                        case = closed = None
        if case is not None and closed is None and case.status not in CLOSED:
            return Found(case_id, case, states=tuple(states))
        results = tuple(_results(reader, settings, counts, case_id, case))
    if case is None and closed is None and not results:
        return None
    return Found(case_id, case, closed, results, tuple(states))


def _home(counts: dict[str, int], topic: str, key: str) -> list[TopicPartition]:
    partitions = len(partitions_of(counts, [topic]))
    return [TopicPartition(topic, partition_of(key.encode(), partitions))]


def _results(
    reader: LogReader,
    settings: Settings,
    counts: dict[str, int],
    case_id: str,
    case: Case | None,
) -> Iterator[Delivered]:
    """Results of a case: on one partition when its event is known, else wherever they are."""
    if case is not None:
        topic = settings.topics.results(case.workflow)
        sources = _home(counts, topic, case.event.subject or case.event.id)
    else:
        sources = partitions_of(counts, results_topics(counts, settings.topics))
    needle = case_id.encode()
    for source in sources:
        for message in records(reader, source):
            if message.value is not None and needle in message.value:
                found = delivered(message)
                if found.result.case_id == case_id:
                    yield found


def open_cases(broker: Broker, settings: Settings) -> list[Case]:
    """Every case that is open now, the oldest first. Reads the whole changelog."""
    counts = partition_counts(broker)
    held: dict[str, Case] = {}
    with closing(broker.reader()) as reader:
        for source in partitions_of(counts, [settings.topics.cases]):
            for message in records(reader, source):
                _hold(held, message)
    return sorted(held.values(), key=lambda case: case.opened)


def _hold(held: dict[str, Case], message: Message) -> None:
    if message.key is None or not _names_a_case(message.key):
        return
    state = read_state(message)
    if isinstance(state, Case) and state.status not in CLOSED:
        held[state.case_id] = state
    else:
        held.pop(message.key.decode(errors="replace"), None)


def need(found: Found | None, case_id: str) -> Found:
    """The case, or one clear error."""
    if found is None:
        raise SetupError(
            f"no case {case_id} is known here",
            hint="caseworks case list; results are kept for 30 days",
        )
    return found
