"""What the projection forgets, a bounded part at a time."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from caseworks.projection.schema import HOUR_S, LOG_OPEN, MINUTE_S

CHUNK = 4_000
"""Cases looked at in one sweep."""
DAY_S = 86_400
SECONDS_KEEP_S = 600
LATENCY_KEEP_S = 3_600
MINUTES_KEEP_S = 2 * DAY_S
HOURS_KEEP_S = 90 * DAY_S
BESIDE_KEEP_S = 30 * DAY_S
"""Letters and ended questions: as long as their topics have them."""
LETTERS_MAX = 100_000
"""The newest: a storm of them is looked at in Kafka."""
ORDERS_KEEP_S = 90 * DAY_S
"""What people did to letters, and what they said of results: likewise."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long closed cases stay, in seconds, and how many cases at the most (open ones stay)."""

    keep_s: float
    cases_max: int

    def since_ms(self, now: float) -> int:
        """What was closed before is not kept."""
        return round((now - self.keep_s) * 1000)


class Sweep:
    """Goes through the cases by when they were opened, over and over, and deletes old ones."""

    def __init__(self, retention: Retention, count: int) -> None:
        """*count*: the cases that there are; whoever adds some says so."""
        self._retention = retention
        self._at = (-(2**63), 0)
        self.count = count

    @property
    def is_due(self) -> bool:
        """Whether there are more cases than may be."""
        return self.count > self._retention.cases_max

    def run(self, db: sqlite3.Connection, now: float) -> list[str]:
        """Delete what is old among the next cases, and old sums; returns the cases."""
        since, excess = self._retention.since_ms(now), self.count - self._retention.cases_max
        rows = db.execute(
            "SELECT id, case_id, opened, log, coalesce(closed, updated) FROM cases "
            "WHERE (opened, id) > (?, ?) ORDER BY opened, id LIMIT ?",
            (*self._at, CHUNK),
        ).fetchall()
        gone = []
        for number, case_id, opened, log, closed in rows:
            if excess <= 0 and opened >= since:
                rows = []  # whatever follows was opened later
                break
            self._at = (opened, number)
            if log != LOG_OPEN and (closed < since or excess > 0):
                gone.append((number, case_id))
                excess -= 1
        if len(rows) < CHUNK:
            self._at = (-(2**63), 0)
        db.executemany("DELETE FROM cases WHERE id = ?", [(number,) for number, _ in gone])
        db.executemany("DELETE FROM bodies WHERE id = ?", [(number,) for number, _ in gone])
        db.executemany("DELETE FROM parts WHERE case_id = ?", [(case_id,) for _, case_id in gone])
        self.count -= len(gone)
        _drop_sums(db, int(now))
        return [case_id for _, case_id in gone]


def _drop_sums(db: sqlite3.Connection, now: int) -> None:
    db.execute("DELETE FROM seconds WHERE at < ?", (now - SECONDS_KEEP_S,))
    db.execute("DELETE FROM latency WHERE at < ?", (now - LATENCY_KEEP_S,))
    db.execute("DELETE FROM tally WHERE span = ? AND at < ?", (MINUTE_S, now - MINUTES_KEEP_S))
    db.execute("DELETE FROM tally WHERE span = ? AND at < ?", (HOUR_S, now - HOURS_KEEP_S))
    old_ms = (now - BESIDE_KEEP_S) * 1000
    db.execute("DELETE FROM letters WHERE at < ?", (old_ms,))
    db.execute("DELETE FROM letters WHERE id <= (SELECT max(id) FROM letters) - ?", (LETTERS_MAX,))
    db.execute("DELETE FROM approvals WHERE asked < ? AND status <> 'open'", (old_ms,))
    for table in ("handled", "feedback"):
        db.execute(f"DELETE FROM {table} WHERE at < ?", ((now - ORDERS_KEEP_S) * 1000,))  # noqa: S608
