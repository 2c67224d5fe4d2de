"""A store on disk: one SQLite file a partition, in the standard library.

Chosen over an LSM store (rocksdict) because it needs no further dependency, a transaction holds
values, digests and mark together, and it says when its file is broken. Three things make it cheap:

- Writing is put off for a second or some hundred values, so that of a case which changes five
  times only its last state is written, and of one that closes soon only its digest. What a killed
  process had not written lies in the changelog.
- Where a value with a due time lies is held in memory, as its timer is: a number, by which it is
  read and written without an index. New ones lie at the end, beside others of the same moment:
  so a case that changes touches its own page alone, however many there are.
- Nothing waits for the disk (`synchronous=OFF`): a killed process leaves a whole file behind. A
  machine that went down may not; so the file says under which boot of the machine it was written,
  and one of an earlier boot that was not closed in order is thrown away. Where that cannot be
  asked (not Linux), checkpoints wait for the disk instead.

Every value carries a checksum over key, due time and value, which each reading checks; opening
reads everything once, to build the timers, and so finds what is broken before anybody relies on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from events.errors import StateLostError
from events.logs import get_logger
from events.store import Mark

LAYOUT = 2
"""Raised by a change of the tables, or of what the values mean."""
FLUSH_S = 1.0
FLUSH_ENTRIES = 500
FLUSH_BYTES = 1_000_000
CACHE_KIB = 1024
WAL_PAGES = 2000
LOCK_TIMEOUT_S = 0.05
"""How long to wait for a process of the same name that is about to end."""
BOOT = Path("/proc/sys/kernel/random/boot_id")

_TABLES = """
CREATE TABLE meta (identity TEXT, boot TEXT, log_offset INTEGER, position INTEGER, at REAL);
CREATE TABLE dated (place INTEGER PRIMARY KEY, key TEXT NOT NULL, due REAL NOT NULL,
    sum INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE undated (key TEXT UNIQUE NOT NULL, sum INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE closed (newest INTEGER NOT NULL, sum INTEGER NOT NULL, entries BLOB NOT NULL);
"""
_PUT_DATED = "INSERT OR REPLACE INTO dated VALUES (?, ?, ?, ?, ?)"
_PUT = """INSERT INTO undated VALUES (?, ?, ?) ON CONFLICT (key)
DO UPDATE SET sum = excluded.sum, value = excluded.value"""
_DROP_DATED = "DELETE FROM dated WHERE place = ?"
_DROP = "DELETE FROM undated WHERE key = ?"
_GET_DATED = "SELECT due, sum, value FROM dated WHERE place = ?"
_GET = "SELECT NULL, sum, value FROM undated WHERE key = ?"
_ALL = """SELECT place, key, due, sum, value FROM dated
UNION ALL SELECT 0, key, NULL, sum, value FROM undated"""

log = get_logger(__name__)


class SqliteStores:
    """The stores of one process, in one folder."""

    def __init__(self, folder: Path, identity: str, boot: str | None = None) -> None:
        """*identity* is that of the changelog; what was written for another is thrown away.

        *boot* names this run of the machine; left out, the system is asked.
        """
        self.folder = folder
        self.identity = identity
        self.boot = boot if boot is not None else _boot()

    def __call__(self, partition: int) -> SqliteStore:
        """Open the store of a partition, or make it. Raises `StateLostError`: it cannot be made."""
        path = self.folder / f"cases-{partition}.db"
        return SqliteStore(path, partition, self.identity, self.boot)


class SqliteStore:
    """See `events.store.Store`."""

    _dirty: dict[str, tuple[bytes | None, float | None]]
    """What is not written yet: value and due time; no value is a tombstone."""
    _places: dict[str, int]
    """Where each written value with a due time lies."""
    _last: int
    """The last place that was given away."""
    _mark: Mark | None

    def __init__(self, path: Path, partition: int, identity: str, boot: str = "") -> None:
        self.partition = partition
        self.found: Mark | None = None
        self.discarded: str | None = None
        self._path = path
        self._identity = identity
        self._boot = boot
        self._forget()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists() or path.stat().st_size == 0
            self._db = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise self._lost(error) from error
        try:
            self.discarded = None if new else self._look()
        except sqlite3.Error as error:
            self.discarded = "locked" if "locked" in str(error) else "corrupt"
        if new or self.discarded:
            self.clear()

    def get(self, key: str) -> bytes | None:
        dirty = self._dirty.get(key)
        if dirty is not None:
            return dirty[0]
        place = self._places.get(key)
        ask, at = (_GET, key) if place is None else (_GET_DATED, place)
        try:
            row = self._db.execute(ask, (at,)).fetchone()
        except sqlite3.Error as error:
            raise self._lost(error) from error
        return None if row is None else self._checked(key, *row)

    def put(self, key: str, value: bytes | None, due: float | None = None) -> None:
        self._dirty[key] = (value, due)
        self._dirty_bytes += len(value or b"")

    def names(self, prefix: str) -> Sequence[str]:
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        with self._trusted():
            rows = self._db.execute(
                "SELECT key FROM undated WHERE key >= ? AND key < ?", (prefix, beyond)
            ).fetchall()
        names = {key: True for (key,) in rows}
        for key, (value, due) in self._dirty.items():
            if key.startswith(prefix) and due is None:
                names[key] = value is not None
        return tuple(key for key, there in names.items() if there)

    def remember(self, entry: bytes) -> None:
        self._closed += entry

    def forget_before(self, hour: int) -> None:
        self._oldest = hour

    def mark(self, mark: Mark) -> None:
        self._mark = mark
        if (
            len(self._dirty) >= FLUSH_ENTRIES
            or self._dirty_bytes >= FLUSH_BYTES
            or abs(mark.at - self._flushed_at) >= FLUSH_S
        ):
            self.flush()

    def flush(self) -> None:
        """Write what was put up to the newest mark, and the mark, in one transaction."""
        if self._mark is None:
            return
        with self._trusted(), self._db:
            self._db.execute("BEGIN")
            self._write(self._mark)
        self._flushed_at = self._mark.at
        self._dirty, self._dirty_bytes, self._closed = {}, 0, bytearray()

    def entries(self) -> Iterable[tuple[str, float | None]]:
        with self._trusted():
            for place, key, due, checksum, value in self._db.execute(_ALL):
                self._checked(key, due, checksum, value)
                if due is not None:
                    self._places[key] = place
                    self._last = max(self._last, place)
                yield key, due

    def remembered(self) -> Iterable[bytes]:
        with self._trusted():
            for newest, checksum, entries in self._db.execute("SELECT * FROM closed"):
                if crc32(entries, newest) != checksum:
                    raise self._lost("a checksum of closed cases is wrong")
                yield entries

    def clear(self) -> None:
        """Throw the files away: another process may still hold them, and then keeps them alone."""
        try:
            self._db.close()
            for suffix in ("", "-wal", "-shm", "-journal"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._db = self._connect()
            self._db.executescript(_TABLES)
            self._db.execute(f"PRAGMA user_version = {LAYOUT}")
            self._db.execute(
                "INSERT INTO meta VALUES (?, ?, 0, NULL, 0)", (self._identity, self._boot)
            )
        except (OSError, sqlite3.Error) as error:
            raise self._lost(error) from error
        self.found = None
        self._forget()

    def close(self) -> None:
        """Close in order: only then it outlives a machine that goes down."""
        with suppress(StateLostError):
            self.flush()
            with self._trusted():
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("UPDATE meta SET boot = ''")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    # --- opening

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        with suppress(sqlite3.DatabaseError):  # what is no database is found out by `_look`
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'OFF' if self._boot else 'NORMAL'}")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        return db

    def _look(self) -> str | None:
        """Take over what is there; else say why not."""
        layout = self._db.execute("PRAGMA user_version").fetchone()[0]
        if layout != LAYOUT:
            return "layout" if layout else "corrupt"
        (meta,) = self._db.execute("SELECT * FROM meta").fetchall() or [None]
        if meta is None:
            return "unmarked"
        identity, boot, log_offset, position, at = meta
        if identity != self._identity:
            return "foreign"
        if boot not in ("", self._boot):
            return "rebooted"
        if not log_offset:
            return "unmarked" if self._db.execute(_ALL).fetchone() else None
        self._db.execute("UPDATE meta SET boot = ?", (self._boot,))
        self.found = Mark(log_offset, position, at)
        return None

    def _forget(self) -> None:
        self._dirty = {}
        self._dirty_bytes = 0
        self._places = {}
        self._last = 0
        self._closed = bytearray()
        self._oldest = self._oldest_written = 0
        self._mark = None
        self._flushed_at = 0.0

    # --- writing

    def _write(self, mark: Mark) -> None:
        db = self._db
        self._write_values()
        if self._closed:
            closed = bytes(self._closed)
            newest = max(int.from_bytes(closed[at : at + 4]) for at in range(16, len(closed), 20))
            db.execute(
                "INSERT INTO closed VALUES (?, ?, ?)", (newest, crc32(closed, newest), closed)
            )
        if self._oldest > self._oldest_written:
            db.execute("DELETE FROM closed WHERE newest < ?", (self._oldest,))
            self._oldest_written = self._oldest
        db.execute(
            "UPDATE meta SET log_offset = ?, position = ?, at = ?",
            (mark.log_offset, mark.position, mark.at),
        )

    def _write_values(self) -> None:
        """In the order of their places: neighbours lie on one page."""
        places, left = self._places, []
        dropped, dated, undated = [], [], []
        for key, (value, due) in self._dirty.items():
            if (value is None or due is None) and (place := places.pop(key, None)) is not None:
                left.append((place,))
            if value is None:
                dropped.append((key,))
            elif due is None:
                undated.append((key, _sum(key, due, value), value))
            else:
                if key not in places:
                    places[key] = self._last = self._last + 1
                dated.append((places[key], key, due, _sum(key, due, value), value))
        self._db.executemany(_DROP_DATED, sorted(left))
        self._db.executemany(_DROP, dropped)
        self._db.executemany(_PUT_DATED, sorted(dated))
        self._db.executemany(_PUT, undated)

    # --- trust

    def _checked(self, key: str, due: float | None, checksum: int, value: bytes) -> bytes:
        if _sum(key, due, value) != checksum:
            raise self._lost(f"the checksum of {key!r} is wrong")
        return value

    @contextmanager
    def _trusted(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._lost(error) from error

    def _lost(self, why: object) -> StateLostError:
        return StateLostError(f"{self._path}: {why}", partition=self.partition)


def _sum(key: str, due: float | None, value: bytes) -> int:
    return crc32(value, crc32(f"{key}{due}".encode()))


def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
