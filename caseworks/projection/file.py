"""The projection's file: who may write it, when it is trusted, and how it is made anew.

It holds nothing that Kafka does not. A file that cannot be trusted is set aside (the last one, as
`….aside`) and filled again from the beginning of the topics.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from caseworks.projection.schema import SCHEMA_VERSION, TABLES
from events.errors import SetupError
from events.logs import get_logger

CACHE_KIB = 65_536
WAL_PAGES = 8_192
"""Of 4 KiB; beyond, they are written back into the file."""
LOCK_TIMEOUT_S = 5.0
_BESIDE = ("", "-wal", "-shm")
_BROKEN = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))

Why = Literal["version", "corrupt", "asked", "topic", "retention"]
"""Why a file was thrown away: of another version, broken, a person asked for it, a topic was made
anew or cut, retention deleted what was not read."""

log = get_logger(__name__)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the file for this process; let go when it ends. Raises `SetupError`: another has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("a", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error.strerror) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"another process writes the projection {path}",
                hint="one is enough; `caseworks up` starts one, too",
            ) from None
        yield


def open_file(path: Path) -> tuple[sqlite3.Connection, Why | None]:
    """The tables to write to, made if need be; and why what was there was thrown away.

    Raises `SetupError` when the file cannot be written.
    """
    existed = path.exists()
    try:
        db = _connect(path)
        why = _distrust(db, path) if existed else None
        if why is None:
            if not existed:
                _make(db)
            return db, None
        db.close()
    except sqlite3.DatabaseError as error:
        mendable(path, error)
        why = "corrupt"
    set_aside(path, why)
    db = _connect(path)
    _make(db)
    return db, why


def mendable(path: Path, error: sqlite3.DatabaseError) -> None:
    """Raises `SetupError` unless a file made anew would help."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        raise error  # of the module, not of the file
    if code & 0xFF not in _BROKEN:
        raise _unwritable(path, error) from None


def set_aside(path: Path, why: Why) -> None:
    """Throw the file away: one that is broken is kept beside, for whoever wants to know why."""
    log.warning("projection thrown away", path=str(path), why=why)
    try:
        for end in _BESIDE:
            file = Path(f"{path}{end}")
            if why == "corrupt":
                with suppress(FileNotFoundError):
                    file.replace(f"{path}.aside{end}")
            else:
                file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
    try:
        db.execute("PRAGMA page_size = 8192")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        db.execute("BEGIN IMMEDIATE")  # whether it can be written is known now, not in an hour
        db.execute("ROLLBACK")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _make(db: sqlite3.Connection) -> None:
    db.executescript(f"BEGIN;{TABLES}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")


def _distrust(db: sqlite3.Connection, path: Path) -> Why | None:
    """Why not to go on with this file, as far as a glance can tell."""
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found != SCHEMA_VERSION:
        return "version"
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    pages, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    if not busy and path.stat().st_size < pages * size:
        return "corrupt"
    for table in ("meta", "positions", "cases", "bodies", "letters", "feedback", "tally"):
        try:
            db.execute(f"SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1").fetchall()  # noqa: S608
        except sqlite3.OperationalError:
            return "corrupt"  # no such table
    return None


def _unwritable(path: Path, why: object) -> SetupError:
    return SetupError(
        f"the projection {path} cannot be written: {why}",
        hint="give this user the folder and the file, or set CASEWORKS_DATA_DIR to another folder",
    )
