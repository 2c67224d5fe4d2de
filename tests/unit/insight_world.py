"""Facts, and tables that are dictionaries."""

from __future__ import annotations

from typing import Any

from caseworks.insight.tables import Row, Tables
from caseworks.insight.windows import TABLES, Read
from schemas.base import instant
from schemas.fact import CaseFact, Fact, StepFact

NOW = 1_700_000_000.0


class DictShelf:
    """A `Shelf`; every write is kept, as a changelog would."""

    def __init__(self) -> None:
        self.data: dict[Row, bytes] = {}
        self.written: list[tuple[Row, bytes]] = []

    def get(self, row: Row) -> bytes | None:
        return self.data.get(row)

    def put(self, row: Row, value: bytes) -> None:
        self.data[row] = value
        self.written.append((row, value))

    def rows(self) -> list[Row]:
        return list(self.data)

    def forget(self, row: Row) -> None:
        self.data.pop(row, None)


def shelves() -> dict[str, DictShelf]:
    return {table.name: DictShelf() for table in TABLES}


def tables(names_max: int = 100) -> Tables:
    return Tables(shelves(), names_max)


def step(agent: str = "triage", **more: Any) -> StepFact:
    return StepFact(**{"agent": agent, "version": "1", "status": "done", **more})


def closed(at: float = NOW, **more: Any) -> CaseFact:
    fields = {
        "case_id": "c",
        "result_id": "c:1",
        "workflow": "ticket",
        "status": "completed",
        "event_time": instant(at),
        "at": instant(at),
    }
    return CaseFact(**{**fields, **more})


def read(fact: Fact, offset: int = 0, partition: int = 0, recorded: float = NOW) -> Read:
    return Read(partition, offset, recorded, fact)
