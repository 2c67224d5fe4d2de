"""The read model: what the API and the console ask of the projection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from caseworks.projection.case_page import case_view
from caseworks.projection.connection import Reading
from caseworks.projection.lines import (
    APPROVAL_COLUMNS,
    CASE_COLUMNS,
    LETTER_COLUMNS,
    approval_view,
    case_line,
    letter_view,
)
from caseworks.projection.overview import behind_of, overview_of, spend_of
from caseworks.projection.paging import cursor_of, page_of, read_cursor, within
from caseworks.projection.views import (
    ApprovalView,
    Behind,
    CaseLine,
    CaseView,
    LetterView,
    Overview,
    Page,
    SpendLine,
)
from events.errors import PayloadError, SetupError
from schemas.lean_case import CLOSED

OPEN = ("open", "waiting", "parked", "undoing")
STATUSES = frozenset((*OPEN, *CLOSED))
CHANGES_MAX = 10_000
LINES_AT_ONCE = 500
_LIKE_MARKS = str.maketrans({"%": r"\%", "_": r"\_", "\\": r"\\"})


class ReadModel:
    """Reads the file that `caseworks projection` writes. Thread-safe; never blocks for long.

    Every method raises `SetupError` while there is no file to read (but `behind`, which says so),
    and `PayloadError` for a filter or cursor that is none (`status`, `cursor`), or for a question
    that would take too long (`too_slow`). A `limit` beyond 500 is 500.

    Args:
        path: `connection.projection_path(settings.data_dir, settings.namespace)`.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._reading = Reading(path)
        self._clock = clock

    def close(self) -> None:
        """Close this thread's connection; another question opens one again."""
        self._reading.close()

    def behind(self) -> Behind:
        """How far the projection is behind; not ready where there is none."""
        try:
            return behind_of(self._reading, self._clock())
        except SetupError:
            return Behind(records=0, seconds=0.0, updated_at=None, ready=False)

    def case(self, case_id: str) -> CaseView | None:
        """All that is known of a case; `None`: nothing."""
        return case_view(self._reading, case_id)

    def cases(  # noqa: PLR0913 - the filters of a list
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        tenant: str | None = None,
        subject: str | None = None,
        q: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[CaseLine]:
        """Cases by when they were opened, the newest first.

        Args:
            status: One of the case statuses, or `open` for every one that is not closed.
            workflow: Exactly this one.
            tenant: Exactly this one.
            subject: Exactly this one.
            q: How a case id begins, or what a subject or an event type holds.
            since: Opened at this time or later.
            until: Opened before this time.
            limit: Cases of a page.
            cursor: `next` of the page before.
        """
        asked = _Where()
        _by_status(asked, status)
        for column, value in (("workflow", workflow), ("tenant", tenant), ("subject", subject)):
            if value is not None:
                asked.add(f"{column} = ?", value)
        if tenant is not None:
            asked.add("tenant IS NOT NULL")
        if q:
            held = q.translate(_LIKE_MARKS)
            asked.add(
                r"(case_id LIKE ? ESCAPE '\' OR subject LIKE ? ESCAPE '\' "
                r"OR type LIKE ? ESCAPE '\')",
                f"{held}%",
                f"%{held}%",
                f"%{held}%",
            )
        asked.between("opened", since, until)
        limit = within(limit)
        if cursor:
            asked.add("(opened, id) < (?, ?)", *read_cursor(cursor, int))
        rows = self._reading.rows(
            f"SELECT {CASE_COLUMNS}, id, opened FROM cases {asked.sql} "  # noqa: S608
            "ORDER BY opened DESC, id DESC LIMIT ?",
            (*asked.values, limit + 1),
        )
        return page_of(rows, limit, case_line, lambda row: cursor_of(row[-1], row[-2]))

    def lines(self, case_ids: Sequence[str]) -> list[CaseLine]:
        """These cases as items of a list, in no order; those that nobody knows are left out."""
        found: list[CaseLine] = []
        for start in range(0, len(case_ids), LINES_AT_ONCE):
            part = case_ids[start : start + LINES_AT_ONCE]
            marks = ", ".join("?" * len(part))
            rows = self._reading.rows(
                f"SELECT {CASE_COLUMNS} FROM cases WHERE case_id IN ({marks})",  # noqa: S608
                part,
            )
            found += map(case_line, rows)
        return found

    def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        case_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ApprovalView]:
        """Questions to people: the open ones, the longest waiting first; or all, newest first."""
        asked = _Where()
        if open_only:
            asked.add("status = 'open'")
        if tenant is not None:
            asked.add("tenant = ?", tenant)
        if case_id is not None:
            asked.add("case_id = ?", case_id)
        limit = within(limit)
        order, beyond = ("ASC", ">") if open_only else ("DESC", "<")
        if cursor:
            asked.add(f"(asked, approval_id) {beyond} (?, ?)", *read_cursor(cursor, str))
        rows = self._reading.rows(
            f"SELECT {APPROVAL_COLUMNS}, asked FROM approvals {asked.sql} "  # noqa: S608
            f"ORDER BY asked {order}, approval_id {order} LIMIT ?",
            (*asked.values, limit + 1),
        )
        return page_of(rows, limit, approval_view, lambda row: cursor_of(row[-1], row[0]))

    def approval(self, approval_id: str) -> ApprovalView | None:
        """One question; `None`: nobody asked it."""
        rows = self._reading.rows(
            f"SELECT {APPROVAL_COLUMNS} FROM approvals WHERE approval_id = ?",  # noqa: S608
            (approval_id,),
        )
        return approval_view(rows[0]) if rows else None

    def letters(  # noqa: PLR0913 - the filters of a list
        self,
        *,
        agent: str | None = None,
        reason: str | None = None,
        topic: str | None = None,
        tenant: str | None = None,
        case_id: str | None = None,
        state: Literal["waiting", "replayed", "dropped"] | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[LetterView]:
        """Dead letters, the newest first. *topic*: the one that they lie in."""
        asked = _Where()
        for column, value in (
            ("agent", agent),
            ("reason", reason),
            ("topic", topic),
            ("tenant", tenant),
            ("case_id", case_id),
        ):
            if value is not None:
                asked.add(f"l.{column} = ?", value)
        if state is not None:
            asked.add("coalesce(h.action, 'waiting') = ?", state)
        asked.between("l.at", since, None)
        limit = within(limit)
        if cursor:
            asked.add("(l.at, l.id) < (?, ?)", *read_cursor(cursor, int))
        rows = self._reading.rows(
            f"SELECT {LETTER_COLUMNS}, l.id, l.at "  # noqa: S608
            f"FROM letters l LEFT JOIN handled h USING (place) {asked.sql} "
            "ORDER BY l.at DESC, l.id DESC LIMIT ?",
            (*asked.values, limit + 1),
        )
        return page_of(rows, limit, letter_view, lambda row: cursor_of(row[-1], row[-2]))

    def overview(self, now: float | None = None) -> Overview:
        """How everything stands. *now*: seconds since the epoch."""
        return overview_of(self._reading, self._clock() if now is None else now)

    def spend(
        self,
        by: Literal["agent", "workflow", "tenant"],
        since: datetime,
        *,
        tenant: str | None = None,
    ) -> list[SpendLine]:
        """What was spent since a time (to the hour), the most first; at most 500 lines.

        *tenant*: only this one's line; by `tenant` alone.
        """
        return spend_of(self._reading, by, since.timestamp(), tenant)

    def changes(self, after: int, limit: int = 1000) -> tuple[int, list[str]]:
        """The cases that changed after a sequence number, and the number to go on from.

        Where *after* is negative, or of another file, the number is the newest and nothing is
        named. Numbers are kept for the last changes only: what is older is left out. A case may be
        named more than once.
        """
        limit = max(1, min(CHANGES_MAX, limit))
        newest = self._reading.rows("SELECT max(last) FROM changes")[0][0] or 0
        if after < 0 or after > newest:
            return newest, []
        rows = self._reading.rows(
            "SELECT last, case_ids FROM changes WHERE last > ? ORDER BY last LIMIT ?",
            (after, limit),
        )
        found: list[str] = []
        for last, told in rows:
            case_ids = json.loads(told)
            case_ids = case_ids[max(0, after - (last - len(case_ids))) :]
            room = limit - len(found)
            found += case_ids[:room]
            after = last - max(0, len(case_ids) - room)
            if len(found) == limit:
                break
        return after, found


class _Where:
    """Conditions of a question, and the values for their marks."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    @property
    def sql(self) -> str:
        """`WHERE …`, or nothing."""
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""

    def add(self, condition: str, *values: object) -> None:
        self._conditions.append(condition)
        self.values += values

    def between(self, column: str, since: datetime | None, until: datetime | None) -> None:
        if since is not None:
            self.add(f"{column} >= ?", round(since.timestamp() * 1000))
        if until is not None:
            self.add(f"{column} < ?", round(until.timestamp() * 1000))


def _by_status(asked: _Where, status: str | None) -> None:
    """As the indexes are made: SQLite takes a partial one where its own terms are repeated."""
    if status is None:
        return
    if status not in STATUSES:
        raise PayloadError("status", f"{status!r} is no status: {', '.join(sorted(STATUSES))}")
    if status in OPEN:
        asked.add("log = 1")
    elif status != "completed":
        asked.add("log <> 1")
        asked.add("status <> 'completed'")
    if status != "open":
        asked.add("status = ?", status)
