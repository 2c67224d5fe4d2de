"""What a run leaves behind, for pure rules to look at: every record, every commit, in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

from pydantic import ValidationError

from agents.effects.states import read_effect
from coordinator.partition import ENTITY_MARK, NOTE_MARK, PART_MARK, POSITION_KEY
from coordinator.workflow import Plan
from events.broker import Message, TopicPartition
from events.dead_letters import read_letter
from events.memory.journal import Entry, Moved, Wrote
from events.settings import Settings
from schemas.agent import AgentSpec
from schemas.commands import COMMANDS, Command, Opened
from schemas.dead_letter import DeadLetter
from schemas.event import Event
from schemas.lean_case import Case, ClosedCase, Position
from schemas.outcome import Outcome
from schemas.result import Result
from schemas.task import Task

Held = Case | ClosedCase | None
"""A case as its changelog holds it; `None`: a tombstone."""


class State(Protocol):
    """The live state of one partition, as far as the rules look at it."""

    position: int | None

    def load(self, case_id: str) -> Case | None:
        """An open or kept case."""

    def part(self, case_id: str, name: str) -> bytes | None:
        """A part of one."""

    def entity(self, key: str) -> bytes | None:
        """Something beside the cases."""

    @property
    def closed(self) -> Any:
        """A container of the ids of closed cases."""


@dataclass(frozen=True, slots=True)
class Read:
    """A record with what it says, and its place in the order of all that arrived."""

    at: int
    message: Message
    transaction: object | None
    said: Any

    @property
    def spot(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.message.topic, self.message.partition, self.message.offset

    @property
    def place(self) -> str:
        """`topic:partition:offset`."""
        return f"{self.message.topic}:{self.message.partition}:{self.message.offset}"


@dataclass(slots=True)
class Turn:
    """One committed transaction of an orchestrator."""

    at: int
    wrote: list[Wrote] = field(default_factory=list)
    moved: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By inbox partition: the position before and after."""
    heard: list[Read] = field(default_factory=list)
    """The commands that it consumed."""
    before: dict[str, Held] = field(default_factory=dict)
    after: dict[str, Held] = field(default_factory=dict)
    """The cases that it changed or heard of, by its changelog."""

    changes: list[tuple[str, Case, Case]] = field(default_factory=list)
    """Cases that were there before and are not closed for good after it, before and after."""

    def outcomes(self, case_id: str) -> list[Outcome]:
        """Those that it consumed, of one case."""
        return [
            read.said
            for read in self.heard
            if isinstance(read.said, Outcome) and read.said.case_id == case_id
        ]


@dataclass(frozen=True)
class Evidence:
    """All of it. `entries` holds what counted: without aborted and open transactions."""

    plans: Mapping[str, Plan]
    agents: Mapping[str, AgentSpec]
    settings: Settings
    events: Sequence[Event]
    entries: Sequence[Entry]
    now: float
    live: Mapping[int, State] = field(default_factory=dict)
    """By inbox partition: the state of its owner, where that waits for something to do."""
    keep_s: float = 30 * 86_400.0
    skew_s: float = 0.0
    """How far the clocks of this run were apart at most."""
    in_flight: Mapping[str, int] = field(default_factory=dict)
    """By agent: the most tasks that one worker of it held."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """By effect: how often its call was made."""

    @cached_property
    def by_topic(self) -> Mapping[str, list[tuple[int, Wrote]]]:
        """Records by topic, in the order they arrived."""
        found: dict[str, list[tuple[int, Wrote]]] = defaultdict(list)
        for at, entry in enumerate(self.entries):
            if isinstance(entry, Wrote):
                found[entry.message.topic].append((at, entry))
        return found

    @cached_property
    def moves(self) -> list[tuple[int, Moved]]:
        """Committed positions, in order."""
        return [(at, e) for at, e in enumerate(self.entries) if isinstance(e, Moved)]

    @cached_property
    def final(self) -> Mapping[tuple[str, TopicPartition], int]:
        """The last committed position of each group."""
        return {(m.group, tp): to for _, m in self.moves for tp, to in m.positions.items()}

    # --- records, read

    @cached_property
    def commands(self) -> list[Read]:
        """The inbox; `said` is `None` where no command stands."""
        return list(self._read(self.settings.topics.inbox, _command))

    @cached_property
    def outcomes(self) -> list[Read]:
        """Those commands that are outcomes."""
        return [read for read in self.commands if isinstance(read.said, Outcome)]

    @cached_property
    def tasks(self) -> list[Read]:
        """Every task, on all lanes."""
        topics = self.settings.topics
        lanes = [
            topics.tasks(agent, lane) for agent in self.agents for lane in ("normal", "urgent")
        ]
        found = (read for topic in lanes for read in self._read(topic, _task))
        return sorted(found, key=lambda read: read.at)

    @cached_property
    def results(self) -> list[Read]:
        """Every result."""
        topics = [self.settings.topics.results(name) for name in self.plans]
        found = (read for topic in topics for read in self._read(topic, _result))
        return sorted(found, key=lambda read: read.at)

    @cached_property
    def letters(self) -> list[Read]:
        """Every dead letter; `said` is `None` where the headers say nothing."""
        topics = [topic for topic in self.by_topic if topic.endswith(".dlq")]
        return [read for topic in topics for read in self._read(topic, _letter)]

    @cached_property
    def effects(self) -> list[Read]:
        """What was said of outside calls; `said` is `None` where it cannot be read."""
        return list(self._read(self.settings.topics.effects, read_effect))

    @cached_property
    def histories(self) -> Mapping[str, list[Read]]:
        """By case: its changelog records, oldest first; `said` is `Held`."""
        found: dict[str, list[Read]] = defaultdict(list)
        for read in self._read(self.settings.topics.cases, lambda _: None):
            key = (read.message.key or b"").decode()
            if key and key[0] not in (NOTE_MARK, ENTITY_MARK) and PART_MARK not in key:
                said = _held(read.message.value)
                found[key].append(Read(read.at, read.message, read.transaction, said))
        return found

    @cached_property
    def positions(self) -> Mapping[int, list[Read]]:
        """By partition: what the changelog says of the inbox position, oldest first."""
        found: dict[int, list[Read]] = defaultdict(list)
        for read in self._read(self.settings.topics.cases, _position):
            if read.message.key == POSITION_KEY:
                found[read.message.partition].append(read)
        return found

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The orchestrators' committed transactions, in order."""
        topics = self.settings.topics
        group = topics.loop_group("orchestrator")
        began = [(at, wrote.transaction) for at, wrote in self.by_topic.get(topics.cases, ())]
        began += [(at, moved.transaction) for at, moved in self.moves if moved.group == group]
        found: dict[int, Turn] = {}
        for at, transaction in sorted(began, key=itemgetter(0)):
            if transaction is not None:
                found.setdefault(id(transaction), Turn(at))
        positions: dict[int, int] = {}
        for entry in self.entries:
            if (turn := found.get(id(entry.transaction))) is None:
                continue
            if isinstance(entry, Wrote):
                turn.wrote.append(entry)
                continue
            for tp, to in entry.positions.items():
                turn.moved[tp.partition] = (positions.get(tp.partition, 0), to)
                positions[tp.partition] = to
        turns = tuple(found.values())
        self._hear(turns)
        self._follow(turns)
        return turns

    def _hear(self, turns: Sequence[Turn]) -> None:
        for read in self.commands:
            for turn in turns:
                start, end = turn.moved.get(read.message.partition, (0, 0))
                if start <= read.message.offset < end:
                    turn.heard.append(read)
                    break

    def _follow(self, turns: Sequence[Turn]) -> None:
        said = {id(read.message): read.said for reads in self.histories.values() for read in reads}
        current: dict[str, Held] = {}
        for turn in turns:
            written = {
                (wrote.message.key or b"").decode(): said[id(wrote.message)]
                for wrote in turn.wrote
                if id(wrote.message) in said
            }
            heard = [read.said.case_id for read in turn.heard if read.said is not None]
            turn.before = {case_id: current.get(case_id) for case_id in (*written, *heard)}
            current |= written
            turn.after = {case_id: current.get(case_id) for case_id in turn.before}
            turn.changes = [
                (case_id, before, after)
                for case_id, before in turn.before.items()
                if (after := turn.after[case_id]) is not before
                and isinstance(before, Case)
                and isinstance(after, Case)
            ]

    @cached_property
    def refused(self) -> Counter[str]:
        """Events in dead letters: those of intake, and those whose opening was not committed."""
        topics = self.settings.topics
        written = self.by_topic.get(topics.dlq(topics.events), ())
        found = Counter(wrote.message.header("ce_id") or "" for _, wrote in written)
        found.update(
            read.said.event.id
            for read in self.commands
            if isinstance(read.said, Opened) and read.spot in self.aside
        )
        return found

    @cached_property
    def aside(self) -> frozenset[tuple[str, int, int]]:
        """The places of records that a dead letter tells of."""
        said = (read.said for read in self.letters if read.said)
        return frozenset((letter.topic, letter.partition, letter.offset) for letter in said)

    def _read(self, topic: str, reader: Any) -> Iterator[Read]:
        for at, wrote in self.by_topic.get(topic, ()):
            yield Read(at, wrote.message, wrote.transaction, reader(wrote.message))


def _command(message: Message) -> Command | None:
    model = COMMANDS.get(message.header("ce_type") or "")
    try:
        return None if model is None else model.from_json(message.value or b"")
    except ValidationError:
        return None


def _task(message: Message) -> Task | None:
    try:
        return Task.from_json(message.value or b"")
    except ValidationError:
        return None


def _result(message: Message) -> Result:
    return Result.from_json(message.value or b"")


def _letter(message: Message) -> DeadLetter | None:
    try:
        return read_letter(message)
    except ValidationError:
        return None


def _position(message: Message) -> int | None:
    if message.key != POSITION_KEY or message.value is None:
        return None
    return Position.from_json(message.value).inbox


def _held(value: bytes | None) -> Held:
    if value is None:
        return None
    return ClosedCase.from_json(value) if value.startswith(b'{"closed":') else Case.from_json(value)
