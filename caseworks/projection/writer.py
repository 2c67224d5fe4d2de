"""Writes batches: rows and the positions that they were read up to, in one transaction.

So a kill at any moment loses and doubles nothing: what was not committed is read again. The file
need not survive the machine's end (`synchronous = NORMAL`): a lost tail is read again as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from caseworks.projection.case_page import result_view
from caseworks.projection.file import Why, open_file, set_aside
from caseworks.projection.fold import Batch, CasePatch
from caseworks.projection.glance import read_result
from caseworks.projection.moments import add_moments, encode_moments, kept_moments
from caseworks.projection.retention import Retention, Sweep
from caseworks.projection.schema import LOG_OPEN
from caseworks.projection.tallies import Tallies
from events.broker import TopicPartition
from schemas.lean_case import Case
from schemas.result import Result

IDS_MAX = 100_000
"""Cases whose row number is remembered."""
CHANGES_KEPT = 100_000
"""The last changes, for those who follow."""
AMENDED_MAX = 100
"""Results of one case that others amend; the newest are shown."""
_ASKED_WIDTH = 8

_PUT_CASE = """
INSERT INTO cases (id, case_id, log, status, workflow, tenant, subject, type, opened, closed,
    nanousd, confidence, degraded, updated)
VALUES (?1, ?2, coalesce(?3, 0), coalesce(?4, ''), ?5, ?6, ?7, ?8, coalesce(?9, ?10, ?14), ?10,
    ?11, ?12, ?13, ?14)
ON CONFLICT (id) DO UPDATE SET
    log = coalesce(?3, log),
    status = CASE WHEN ?3 IS NULL AND log = 1 THEN status ELSE coalesce(?4, status) END,
    workflow = coalesce(?5, workflow), tenant = coalesce(?6, tenant),
    subject = coalesce(?7, subject), type = coalesce(?8, type), opened = coalesce(?9, opened),
    closed = CASE WHEN coalesce(?3, log) = 1 THEN NULL ELSE coalesce(?10, closed) END,
    nanousd = max(coalesce(nanousd, 0), coalesce(?11, 0)),
    confidence = coalesce(?12, confidence), degraded = coalesce(?13, degraded),
    updated = max(updated, ?14)
"""
_PUT_BODY = """
INSERT INTO bodies (id, state, result, amended, moments) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (id) DO UPDATE SET state = coalesce(?2, state), result = coalesce(?3, result),
    amended = coalesce(?4, amended), moments = coalesce(?5, moments)
"""
_PUT_SUMS = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    n = n + excluded.n, failed = failed + excluded.failed, nanousd = nanousd + excluded.nanousd,
    tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,
    calls = calls + excluded.calls
"""
_PUT_SECONDS = """
INSERT INTO seconds VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
    opened = opened + excluded.opened, closed = closed + excluded.closed
"""
_PUT_LATENCY = """
INSERT INTO latency VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n
"""
_PUT_LETTER = """
INSERT OR IGNORE INTO letters (place, topic, agent, reason, error, at, case_id, task_id, tenant,
    attempts, replays, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

Positions = Mapping[TopicPartition, int]


class ProjectionWriter:
    """The one who writes the file; owned by one thread, which holds `file.sole_writer`.

    Raises `SetupError` when the file cannot be written; one that is broken is made anew, and then
    `discarded` says why. Every method may raise `sqlite3.DatabaseError`: ask `file.mendable`.
    """

    def __init__(self, path: Path, retention: Retention) -> None:
        self.path = path
        self.discarded: Why | None = None
        self._retention = retention
        self._open()

    def _open(self) -> None:
        self.db, why = open_file(self.path)
        self.discarded = why or self.discarded
        rows = self.db.execute("SELECT topic, partition, next FROM positions").fetchall()
        self.positions = {TopicPartition(topic, partition): at for topic, partition, at in rows}
        """The next offset of each partition."""
        self.identities: dict[str, str] = dict(
            self.db.execute("SELECT topic, identity FROM identities").fetchall()
        )
        """By topic: which one of its name the positions are meant for."""
        self.caught_up = bool(
            self.db.execute("SELECT 1 FROM meta WHERE name = 'caught_up'").fetchone()
        )
        """Whether this file was once at the end of all topics."""
        self._ids: dict[str, int] = {}
        self._next_id = 1 + (self.db.execute("SELECT max(id) FROM cases").fetchone()[0] or 0)
        self._seq: int = self.db.execute("SELECT max(last) FROM changes").fetchone()[0] or 0
        count = self.db.execute("SELECT count(*) FROM cases").fetchone()[0]
        self._sweep = Sweep(self._retention, count)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def discard(self, why: Why) -> None:
        """Throw the file away and begin with an empty one."""
        self.db.close()
        set_aside(self.path, why)
        self.discarded = why
        self._open()

    def write(self, batch: Batch, positions: Positions, now: float) -> None:
        """Write a finished batch and how far it was read; all of it or nothing."""
        with self._transaction():
            self._write(batch, positions, now)
        self.positions.update(positions)

    def mark(self, behind: Mapping[str, float], *, caught_up: bool) -> None:
        """Say how far this is behind, for readers."""
        rows = [("behind", json.dumps(behind)), *([("caught_up", "1")] if caught_up else [])]
        with self._transaction():
            self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def identify(self, identities: Mapping[str, str]) -> None:
        """Keep which topics these are."""
        self.identities.update(identities)
        with self._transaction():
            self.db.executemany(
                "INSERT OR REPLACE INTO identities VALUES (?, ?)", list(identities.items())
            )

    @property
    def is_full(self) -> bool:
        """Whether there are more cases than may be: `sweep` until it is not."""
        return self._sweep.is_due

    def sweep(self, now: float) -> int:
        """Delete a bounded part of what is too old; returns how many cases that were."""
        with self._transaction():
            gone = self._sweep.run(self.db, now)
        for case_id in gone:
            self._ids.pop(case_id, None)
        if gone:
            self.db.execute("PRAGMA incremental_vacuum(500)").fetchall()
        return len(gone)

    # --- one transaction

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            yield

    def _write(self, batch: Batch, positions: Positions, now: float) -> None:
        db = self.db
        self._number(batch, self._retention.since_ms(now))
        known = [(self._ids[name], each) for name, each in batch.cases.items() if name in self._ids]
        known.sort(key=itemgetter(0))
        db.executemany(_PUT_CASE, [_columns(number, patch) for number, patch in known])
        bodies = [self._body(number, patch, batch.tallies) for number, patch in known]
        db.executemany(_PUT_BODY, [row for row in bodies if row[1:] != _NO_BODY])
        self._drop_gone([number for number, patch in known if patch.gone])
        self._write_beside(batch)
        self._write_sums(batch.tallies)
        self._write_changes([*batch.cases, *(batch.touched - batch.cases.keys())])
        db.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
            [(*source, at) for source, at in positions.items()],
        )
        if len(self._ids) > IDS_MAX:
            self._ids.clear()

    def _number(self, batch: Batch, since_ms: int) -> None:
        """Find the row numbers of cases, and give new ones to those that are to have a row."""
        missing = [case_id for case_id in batch.cases if case_id not in self._ids]
        self._ids.update(
            self.db.execute(
                "SELECT case_id, id FROM cases WHERE case_id IN (SELECT value FROM json_each(?))",
                (json.dumps(missing),),
            )
        )
        for case_id in missing:
            patch = batch.cases[case_id]
            if case_id in self._ids or not _is_wanted(patch, since_ms):
                continue
            self._ids[case_id] = self._next_id
            self._next_id += 1
            self._sweep.count += 1
            if patch.opened is not None:
                batch.tallies.opened(patch.opened // 1000)

    def _body(self, number: int, patch: CasePatch, tallies: Tallies) -> tuple[object, ...]:
        moments = amended = None
        if patch.passing:
            moments = self._moments(number, patch)
        if any(result.amends is not None for result, _ in patch.results):
            amended = self._amended(number, patch, tallies)
        return number, patch.state, patch.result, amended, moments

    def _moments(self, number: int, patch: CasePatch) -> bytes:
        row = self.db.execute("SELECT moments FROM bodies WHERE id = ?", (number,)).fetchone()
        kept = kept_moments(row[0] if row else None)
        for value, at_ms in patch.passing:
            with suppress(ValueError):  # its columns were read; a part of it is none of ours
                add_moments(kept, Case.from_json(value), at_ms)
        return encode_moments(kept)

    def _amended(self, number: int, patch: CasePatch, tallies: Tallies) -> bytes:
        """The results that others amend, as lines; and what the newer ones add to the sums."""
        row = self.db.execute(
            "SELECT result, amended FROM bodies WHERE id = ?", (number,)
        ).fetchone()
        before, lines = row or (None, None)
        lines = (lines or b"").splitlines()
        for result, value in patch.results:
            if result.amends is not None:
                closed = round(result.closed_at.timestamp() * 1000)
                if before:
                    tallies.amend(result, patch.tenant, read_result(before), closed)
                    with suppress(ValueError):  # its columns were read; a part is none of ours
                        lines.append(result_view(Result.from_json(before)).to_json())
                else:  # the first one is not kept any more
                    opened = round(result.opened_at.timestamp() * 1000)
                    tallies.add(result, patch.tenant, opened, closed)
            before = value
        return b"\n".join(lines[-AMENDED_MAX:])

    def _drop_gone(self, numbers: list[int]) -> None:
        """Cases that their changelog knows no more: what remains is their result, if there is."""
        db = self.db
        for number in numbers:
            db.execute("UPDATE bodies SET state = NULL WHERE id = ?", (number,))
            found = db.execute(
                "DELETE FROM cases WHERE id = ? AND NOT EXISTS (SELECT 1 FROM bodies "
                "WHERE bodies.id = cases.id AND result IS NOT NULL) RETURNING case_id",
                (number,),
            ).fetchall()
            for (case_id,) in found:
                db.execute("DELETE FROM bodies WHERE id = ?", (number,))
                self._ids.pop(case_id, None)
                self._sweep.count -= 1

    def _write_beside(self, batch: Batch) -> None:
        db = self.db
        for row in batch.asked:
            if len(row) == _ASKED_WIDTH:
                db.execute("INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            else:
                db.execute("UPDATE approvals SET status = ?, by = ? WHERE approval_id = ?", row)
        db.executemany(_PUT_LETTER, batch.letters)
        db.executemany("INSERT OR REPLACE INTO handled VALUES (?, ?, ?, ?)", batch.handled)
        db.executemany("INSERT OR IGNORE INTO feedback VALUES (?, ?, ?, ?)", batch.feedback)
        self._keep("parts", "case_id = ? AND name = ?", batch.parts.items())
        self._keep("notes", "name = ?", (((name,), value) for name, value in batch.notes.items()))
        self._keep("control", "name = ?", (((name,), v) for name, v in batch.control.items()))

    def _keep(
        self, table: str, where: str, entries: Iterable[tuple[tuple[str, ...], bytes | None]]
    ) -> None:
        """Entries of a table that holds values under names; those without a value go."""
        put, drop = [], []
        for key, value in entries:
            if value is None:
                drop.append(key)
            else:
                put.append((*key, value))
        marks = ", ".join("?" * (where.count("?") + 1))
        self.db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", put)  # noqa: S608
        self.db.executemany(f"DELETE FROM {table} WHERE {where}", drop)  # noqa: S608

    def _write_sums(self, tallies: Tallies) -> None:
        db = self.db
        db.executemany(_PUT_SUMS, tallies.rows())
        db.executemany(_PUT_SECONDS, [(at, *both) for at, both in tallies.seconds.items()])
        db.executemany(_PUT_LATENCY, [(*key, n) for key, n in tallies.durations.items()])

    def _write_changes(self, case_ids: list[str]) -> None:
        if not case_ids:
            return
        self._seq += len(case_ids)
        self.db.execute("INSERT INTO changes VALUES (?, ?)", (self._seq, json.dumps(case_ids)))
        self.db.execute("DELETE FROM changes WHERE last < ?", (self._seq - CHANGES_KEPT,))


_NO_BODY = (None, None, None, None)


def _columns(number: int, patch: CasePatch) -> tuple[object, ...]:
    return (
        number,
        patch.case_id,
        patch.log,
        patch.status,
        patch.workflow,
        patch.tenant,
        patch.subject,
        patch.type,
        patch.opened,
        patch.closed,
        patch.nanousd,
        patch.confidence,
        patch.degraded,
        patch.updated,
    )


def _is_wanted(patch: CasePatch, since_ms: int) -> bool:
    """Whether a case that has no row is to get one."""
    if patch.status is None:
        return False  # a tombstone, or a record that nobody can read
    return patch.log == LOG_OPEN or patch.closed is None or patch.closed >= since_ms
