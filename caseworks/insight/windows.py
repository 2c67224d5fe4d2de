"""Which keys and windows a fact is counted under, each once whatever is replayed. Pure.

A key is `partition|kind|name`: the facts of one partition of the topic and no others come to it, so
that one offset in its cell says what was counted. Who wants a workflow as a whole merges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from caseworks.insight.cells import Cell
from schemas.fact import CaseFact, Fact, StepFact

SKEW_S = 300.0
"""A fact may claim to be so much younger than its record: clocks differ."""
OTHER = "~other"
"""Who came when a kind had as many names as it may."""


@dataclass(frozen=True, slots=True)
class WindowTable:
    """A table of tumbling windows and how long it keeps them."""

    name: str
    size_s: int
    keep_s: int

    def start_of(self, at: float) -> int:
        """The start of the window that holds this second."""
        return int(at // self.size_s) * self.size_s

    def holds(self, start: float, now: float) -> bool:
        """Whether a window is not too old."""
        return start + self.size_s > now - self.keep_s


MINUTE = WindowTable("minute", 60, 2 * 3600)
HOUR = WindowTable("hour", 3600, 72 * 3600)
DAY = WindowTable("day", 86_400, 35 * 86_400)
TABLES = (MINUTE, HOUR, DAY)

Kind = str
KINDS: tuple[Kind, ...] = ("all", "workflow", "agent", "tenant")


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whom a cell is about; an agent is `name@version`."""

    kind: Kind
    name: str = ""

    def key(self, partition: int) -> str:
        """The key of its cells for the facts of one partition."""
        return f"{partition}|{self.kind}|{self.name}"


def subject_of(key: str) -> Subject:
    """Whom a key is about."""
    _, kind, name = key.split("|", 2)
    return Subject(kind, name)


def partition_of(key: str) -> int:
    """The partition whose facts come to this key."""
    return int(key.partition("|")[0])


ALL = Subject("all")


def subjects(fact: Fact) -> Iterator[tuple[Subject, StepFact | None]]:
    """Whom a fact is about, and for an agent with which step."""
    yield ALL, None
    yield Subject("workflow", fact.workflow), None
    if fact.tenant is not None:
        yield Subject("tenant", fact.tenant), None
    if isinstance(fact, CaseFact) and fact.amends is None:
        for step in fact.steps:
            yield Subject("agent", f"{step.agent}@{step.version}"), step


@dataclass(slots=True)
class KeyBook:
    """Who has cells; beyond *names_max* names of a kind and partition, all others share one."""

    names_max: int
    known: dict[tuple[int, Kind], set[str]] = field(default_factory=dict)
    refused: int = 0
    """How often somebody was counted as `~other`."""

    def admit(self, partition: int, subject: Subject) -> Subject:
        """The subject, or who stands for all that found no room."""
        names = self.known.setdefault((partition, subject.kind), set())
        if subject.name in names:
            return subject
        if len(names) >= self.names_max:
            self.refused += 1
            return Subject(subject.kind, OTHER)
        names.add(subject.name)
        return subject

    def learn(self, keys: Iterable[str]) -> None:
        """Begin anew with these keys: what the tables hold after a restart or a clean-up."""
        self.known = {}
        for key in keys:
            subject = subject_of(key)
            if subject.name != OTHER:
                names = self.known.setdefault((partition_of(key), subject.kind), set())
                names.add(subject.name)


@dataclass(frozen=True, slots=True)
class Read:
    """A fact as it was read from the topic; `recorded` in seconds since the epoch."""

    partition: int
    offset: int
    recorded: float
    fact: Fact


Place = tuple[str, str, int]
"""Table, key and the start of a window."""
Look = Callable[[Place], Cell | None]


def count(facts: Iterable[Read], look: Look, book: KeyBook) -> dict[Place, Cell]:
    """The cells that these facts change, with them counted; each fact at most once.

    *look* gives the cell as it is (it is changed in place) or `None`. A fact at or below the
    position of a cell was counted there before it was read again. Facts of one partition come in
    the order of their offsets.
    """
    changed: dict[Place, Cell] = {}
    for read in facts:
        at = read.fact.at.timestamp()
        skewed = at > read.recorded + SKEW_S
        at = read.recorded if skewed else at
        tables = [table for table in TABLES if table.holds(table.start_of(at), read.recorded)]
        for name, steps in _grouped(read, book).items():
            for table in tables:
                place = (table.name, name, table.start_of(at))
                cell = changed.get(place) or look(place) or Cell()
                if read.offset > cell.position:
                    _count(cell, read, steps, skewed=skewed)
                    changed[place] = cell
    return changed


def _grouped(read: Read, book: KeyBook) -> dict[str, list[StepFact]]:
    """By key: the steps that are counted there; none: the fact itself is.

    An agent may have several steps in a case; the position moves once for all of them.
    """
    found: dict[str, list[StepFact]] = {}
    for subject, step in subjects(read.fact):
        key = book.admit(read.partition, subject).key(read.partition)
        steps = found.setdefault(key, [])
        if step is not None:
            steps.append(step)
    return found


def _count(cell: Cell, read: Read, steps: list[StepFact], *, skewed: bool) -> None:
    cell.position = read.offset
    cell.skewed += skewed
    if not steps:
        cell.add(read.fact)
    for step in steps:
        cell.add_step(step)
