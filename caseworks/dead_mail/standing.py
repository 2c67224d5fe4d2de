"""How the cases of dead letters stand: what a replay would find, and what it would reuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from caseworks.casebook import Found, read_state
from caseworks.casebook import find as find_case
from caseworks.scan import partition_counts, partitions_of, records
from caseworks.timeline import Moment, Timeline
from events.broker import Broker, Message, TopicPartition
from events.partitioner import partition_of
from events.settings import Settings
from schemas.lean_case import CLOSED, Case, ClosedCase
from schemas.usage import NOTHING, Usage

UNKNOWN = "unknown"
FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Standing:
    """A case as far as the replay of its dead letters is concerned."""

    status: str = UNKNOWN
    """Of the case; `unknown`: the changelog has none, `forgotten`: it holds its tombstone."""
    kept: bool = False
    """Whether the whole case is there: else nothing can be replayed into it."""
    dead_letters: frozenset[str] = frozenset()
    replays: frozenset[str] = frozenset()
    published: int = 0
    done: Mapping[str, Usage] = field(default_factory=dict)
    """What each finished step cost whose result a replay reuses."""

    def saved(self) -> Usage:
        """What the results cost that a replay reuses."""
        return sum(self.done.values(), NOTHING)


def standing_of(state: Case | ClosedCase | None) -> Standing:
    """Of a state in the changelog; `None` stands for a tombstone."""
    if state is None:
        return Standing(FORGOTTEN)
    if isinstance(state, ClosedCase):
        return Standing(state.status)
    return Standing(
        state.status,
        kept=True,
        dead_letters=frozenset(state.dead_letters),
        replays=frozenset(state.replays),
        published=state.published,
        done={
            name: step.usage or NOTHING
            for name, step in state.steps.items()
            if step.status == "done" and name not in state.undos
        },
    )


def standings(broker: Broker, settings: Settings, case_ids: Iterable[str]) -> dict[str, Standing]:
    """Of each of these cases, in one pass over the partitions where they stand.

    The newest state of each is held as bytes, of one partition at a time, and decoded once.
    """
    wanted: dict[int, set[bytes]] = defaultdict(set)
    sources = partitions_of(partition_counts(broker), [settings.topics.cases])
    for case_id in case_ids:
        key = case_id.encode()
        wanted[partition_of(key, len(sources))].add(key)
    found: dict[str, Standing] = {}
    with closing(broker.reader()) as reader:
        for number, keys in wanted.items():
            newest: dict[bytes, Message] = {}
            for message in records(reader, sources[number]):
                if message.key in keys:
                    newest[message.key] = message
            found |= {key.decode(): _standing(message) for key, message in newest.items()}
    return found


def _standing(message: Message) -> Standing:
    return standing_of(read_state(message))


def history(broker: Broker, settings: Settings, case_id: str) -> tuple[Found | None, list[Moment]]:
    """A case and what happened in it, as far as the changelog and its results tell."""
    found, line, told = find_case(broker, settings, case_id), Timeline(), list[Moment]()
    for message in _states(broker, settings, case_id):
        state = read_state(message)
        if isinstance(state, Case):
            told += line.changed(state, message.timestamp_ms / 1000)
    if found is not None:
        for each in found.results[-1:]:
            told += line.answered(each.result)
    return found, told


def _states(broker: Broker, settings: Settings, case_id: str) -> Iterator[Message]:
    count = len(partitions_of(partition_counts(broker), [settings.topics.cases]))
    key = case_id.encode()
    source = TopicPartition(settings.topics.cases, partition_of(key, count))
    with closing(broker.reader()) as reader:
        yield from (message for message in records(reader, source) if message.key == key)


def is_closed(standing: Standing) -> bool:
    """Whether a replay opens the case again."""
    return standing.status in CLOSED
