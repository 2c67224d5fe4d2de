"""The read model against tables that were filled by hand: pages, filters, bounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caseworks.projection.paging import LIMIT_MAX
from caseworks.projection.read import ReadModel
from caseworks.projection.schema import SCHEMA_VERSION, TABLES
from events.errors import PayloadError, SetupError

NOW = 1_780_000_000.0
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00'\";--"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A file with tables and nothing in them."""
    with closing(sqlite3.connect(tmp_path / "cw.sqlite", isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.executescript(TABLES)
        made.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        yield made


@pytest.fixture
def model(db: sqlite3.Connection, tmp_path: Path) -> Iterator[ReadModel]:
    """Reads it."""
    with closing(ReadModel(tmp_path / "cw.sqlite", clock=lambda: NOW)) as made:
        yield made


def put(db: sqlite3.Connection, number: int, *, opened_s: float = NOW, **more: object) -> None:
    row: dict[str, object] = {
        "case_id": f"case-{number:04d}",
        "log": 1,
        "status": "open",
        "workflow": "ticket",
        "opened": round(opened_s * 1000),
        "updated": round(opened_s * 1000),
        **more,
    }
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO cases ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608


def test_without_a_file_it_says_so_and_what_writes_it(tmp_path: Path) -> None:
    model = ReadModel(tmp_path / "none.sqlite", clock=lambda: NOW)
    with pytest.raises(SetupError, match="caseworks projection"):
        model.cases()
    assert not model.behind().ready


def test_a_file_of_another_version_is_not_read(db: sqlite3.Connection, model: ReadModel) -> None:
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(SetupError, match="another version"):
        model.cases()


def test_cases_come_newest_first_and_page_by_page(db: sqlite3.Connection, model: ReadModel) -> None:
    for number in range(7):
        put(db, number, opened_s=NOW + number // 3)  # several of one time
    first = model.cases(limit=3)
    second = model.cases(limit=3, cursor=first.next)
    third = model.cases(limit=3, cursor=second.next)
    ids = [line.case_id for page in (first, second, third) for line in page.items]
    assert ids == [f"case-{number:04d}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert third.next is None


def test_a_cursor_stands_where_it_stood_when_cases_come(
    db: sqlite3.Connection, model: ReadModel
) -> None:
    for number in range(4):
        put(db, number, opened_s=NOW + number)
    first = model.cases(limit=2)
    put(db, 9, opened_s=NOW + 9)
    assert [line.case_id for line in model.cases(limit=9, cursor=first.next).items] == [
        "case-0001",
        "case-0000",
    ]


@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsMl0x", "WzEsICJ4Il0", "é", "WzEsIDFlOTld"])
def test_a_cursor_that_no_page_gave_is_refused(model: ReadModel, cursor: str) -> None:
    with pytest.raises(PayloadError, match="cursor"):
        model.cases(cursor=cursor)


def test_a_page_is_bounded_whatever_is_asked_for(db: sqlite3.Connection, model: ReadModel) -> None:
    for number in range(LIMIT_MAX + 5):
        put(db, number)
    assert len(model.cases(limit=10**9).items) == LIMIT_MAX
    assert len(model.cases(limit=-5).items) == 1


def test_cases_are_filtered(db: sqlite3.Connection, model: ReadModel) -> None:
    put(db, 1, tenant="acme", subject="order-7", type="com.shop.order")
    put(db, 2, status="parked", opened_s=NOW + 5)
    put(db, 3, log=3, status="failed", workflow="refund", closed=round(NOW * 1000) + 250)
    put(db, 4, log=3, status="completed")

    def ids(**asked: object) -> list[str]:
        return [line.case_id[-1] for line in model.cases(**asked).items]  # type: ignore[arg-type]

    assert ids(status="open") == ["2", "1"]
    assert ids(status="parked") == ["2"]
    assert ids(status="failed") == ids(workflow="refund") == ["3"]
    assert ids(status="completed") == ["4"]
    assert ids(tenant="acme") == ids(subject="order-7") == ids(q="shop") == ids(q="er-7") == ["1"]
    assert ids(q="case-000") == ["2", "4", "3", "1"]
    assert ids(q="case%") == ids(q="0001") == []
    assert ids(since=datetime.fromtimestamp(NOW + 1, UTC)) == ["2"]
    assert ids(until=datetime.fromtimestamp(NOW + 1, UTC)) == ["4", "3", "1"]
    assert model.cases(status="failed").items[0].ms == 250


def test_a_status_that_is_none_is_refused(model: ReadModel) -> None:
    with pytest.raises(PayloadError, match="no status"):
        model.cases(status="broken'; DROP TABLE cases")


def test_text_is_kept_as_it_is(db: sqlite3.Connection, model: ReadModel) -> None:
    put(db, 1, subject=HOSTILE, tenant=HOSTILE)
    [line] = model.cases(subject=HOSTILE, tenant=HOSTILE, q=HOSTILE[:3]).items
    assert line.subject == HOSTILE
    assert b"onerror" in line.to_json()


def test_changes_are_told_from_a_number_on(db: sqlite3.Connection, model: ReadModel) -> None:
    db.execute('INSERT INTO changes VALUES (3, \'["a", "b", "c"]\'), (5, \'["d", "a"]\')')
    assert model.changes(-1) == (5, [])
    assert model.changes(0) == (5, ["a", "b", "c", "d", "a"])
    assert model.changes(1, 3) == (4, ["b", "c", "d"])
    assert model.changes(4) == (5, ["a"])
    assert model.changes(5) == (5, [])
    assert model.changes(99) == (5, [])  # of a file that is gone


def test_an_empty_file_has_an_overview(model: ReadModel) -> None:
    seen = model.overview(NOW)
    assert (seen.cases_open, seen.usd_today, seen.p99_ms) == (0, "0", None)
    assert len(seen.per_second.opened) == 60
    assert not seen.behind.ready
    assert model.case("none") is None
    assert not model.approvals().items
    assert not model.letters().items
    assert model.spend("agent", datetime.fromtimestamp(0, UTC)) == []


def test_lines_of_named_cases_leave_out_whom_nobody_knows(
    db: sqlite3.Connection, model: ReadModel
) -> None:
    for number in range(3):
        put(db, number)
    names = [each.case_id for each in model.cases().items]
    found = model.lines([names[0], "never was", names[2]] * 400)

    assert {each.case_id for each in found} == {names[0], names[2]}
