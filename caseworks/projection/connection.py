"""Read-only connections to the projection's file: one a thread, anew when the file is another."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from caseworks.projection.schema import SCHEMA_VERSION
from events.errors import PayloadError, SetupError

QUERY_TIMEOUT_S = 2.0
"""A question that takes longer is given up: it must name more of what it looks for."""
STEPS_BETWEEN_LOOKS = 20_000
"""Instructions of SQLite's machine between two looks at the clock; well below a millisecond."""
LOCK_TIMEOUT_S = 1.0


def projection_path(data_dir: Path, namespace: str) -> Path:
    """Where the projection of a namespace lies."""
    return data_dir / "projection" / f"{namespace}.sqlite"


class _Held(threading.local):
    """What one thread has."""

    db: sqlite3.Connection | None = None
    inode: int = -1
    until: float = 0.0


class Reading:
    """Asks the file. Thread-safe; blocks for `QUERY_TIMEOUT_S` at the most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = _Held()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """What a question answers.

        Raises `SetupError` while there is no file to read, `PayloadError` (`too_slow`) for a
        question that takes too long.
        """
        held = self._held
        try:
            db = self._connection()
            held.until = time.monotonic() + QUERY_TIMEOUT_S
            return db.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            self.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise PayloadError(
                    "too_slow",
                    f"this takes longer than {QUERY_TIMEOUT_S:g} s: narrow it by a status, a time…",
                ) from None
            raise self._unreadable(error) from None
        except sqlite3.DatabaseError as error:
            self.close()
            raise self._unreadable(error) from None

    def close(self) -> None:
        """Close this thread's connection; the next question opens another."""
        held = self._held
        if held.db is not None:
            with suppress(sqlite3.Error):
                held.db.close()
            held.db = None

    def _connection(self) -> sqlite3.Connection:
        held = self._held
        try:
            inode = self.path.stat().st_ino
        except OSError as error:
            self.close()
            raise self._unreadable(error.strerror) from None
        if held.db is not None and held.inode == inode:
            return held.db
        self.close()
        db = sqlite3.connect(
            f"{self.path.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=LOCK_TIMEOUT_S,
            isolation_level=None,
        )
        held.db, held.inode = db, inode
        if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            raise sqlite3.DatabaseError("it is of another version, or only being made")
        db.set_progress_handler(
            lambda: int(time.monotonic() > self._held.until), STEPS_BETWEEN_LOOKS
        )
        return db

    def _unreadable(self, why: object) -> SetupError:
        return SetupError(
            f"the projection {self.path} cannot be read: {why}",
            hint="it is written by `caseworks projection`, which `caseworks up` starts",
        )
