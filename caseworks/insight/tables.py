"""The three windowed tables as one thing: facts in, cells out. Pure; Faust holds the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from caseworks.insight.cells import Cell, decode, encode
from caseworks.insight.windows import (
    DAY,
    HOUR,
    TABLES,
    KeyBook,
    Place,
    Read,
    Subject,
    count,
    subject_of,
)

Row = tuple[str, int]
"""A key and the start of a window."""


class Shelf(Protocol):
    """What holds the rows of one table."""

    def get(self, row: Row) -> bytes | None:
        """The value of a row."""

    def put(self, row: Row, value: bytes) -> None:
        """Set it, and write that to the changelog."""

    def rows(self) -> list[Row]:
        """Every row, in a list of its own."""

    def forget(self, row: Row) -> None:
        """Free a row whose window is over; the changelog's retention does the same there."""


class Entry(NamedTuple):
    """One row of a table, read."""

    subject: Subject
    start: int
    cell: Cell


class Tables:
    """Owned by one thread."""

    def __init__(self, shelves: Mapping[str, Shelf], names_max: int) -> None:
        self._shelves = shelves
        self._cells: dict[tuple[str, Row], tuple[bytes, Cell]] = {}
        """What was decoded: most windows are over and change no more."""
        self.book = KeyBook(names_max)

    def learn(self) -> None:
        """Take over what the shelves hold after they were filled from their changelogs."""
        self._cells.clear()
        rows = (row for shelf in self._shelves.values() for row in shelf.rows())
        self.book.learn(key for key, _ in rows)

    def feed(self, facts: Iterable[Read]) -> int:
        """Count facts; one write for each cell that changed. Returns how many were written."""
        changed = count(facts, self._look, self.book)
        for place, cell in changed.items():
            row = place[1:]
            value = encode(cell)
            self._shelves[place[0]].put(row, value)
            self._cells[place[0], row] = (value, cell)
        return len(changed)

    def purge(self, now: float) -> int:
        """Free windows that are too old, and names that nobody has used for so long."""
        freed = 0
        for table in TABLES:
            shelf = self._shelves[table.name]
            for row in shelf.rows():
                if not table.holds(row[1], now):
                    shelf.forget(row)
                    self._cells.pop((table.name, row), None)
                    freed += 1
        if freed:
            rows = (row for shelf in self._shelves.values() for row in shelf.rows())
            self.book.learn(key for key, _ in rows)
        return freed

    def entries(self, table: str, wanted: Callable[[int], bool]) -> Iterator[Entry]:
        """The cells of a table whose windows start as *wanted*, not to be changed."""
        for row in self._shelves[table].rows():
            key, start = row
            if wanted(start):
                cell = self._cell(table, row)
                if cell is not None:
                    yield Entry(subject_of(key), start, cell)

    def days(self, now: float) -> float:
        """How long there has been anything to count, in days: to the hour while that is known."""
        starts = {
            table.name: [start for _, start in self._shelves[table.name].rows()] for table in TABLES
        }
        if not starts[DAY.name]:
            return 0.0
        by_hour = min(starts[HOUR.name], default=0)
        recent = min(starts[DAY.name]) > by_hour - DAY.size_s
        return (now - (by_hour if recent else min(starts[DAY.name]))) / DAY.size_s

    def positions(self) -> dict[int, int]:
        """By partition of the topic: the offset after the last fact that was counted."""
        found: dict[int, int] = {}
        for name, shelf in self._shelves.items():
            for row in shelf.rows():
                partition, kind, _ = row[0].split("|", 2)
                cell = self._cell(name, row) if kind == "all" else None
                if cell is not None:
                    found[int(partition)] = max(found.get(int(partition), 0), cell.position + 1)
        return found

    def _look(self, place: Place) -> Cell | None:
        return self._cell(place[0], place[1:])

    def _cell(self, table: str, row: Row) -> Cell | None:
        value = self._shelves[table].get(row)
        if value is None:
            return None
        kept = self._cells.get((table, row))
        if kept is None or kept[0] is not value:
            kept = self._cells[table, row] = (value, decode(value))
        return kept[1]
