"""Where the state of a partition lies: the port, and the store that is a dictionary.

A store holds what the changelog says, under the changelog's keys, and a *mark*: how far the
changelog is in it. It may lag behind (the rest is read again), and is never ahead: only what was
committed is put. Opened anew it says what it found; whoever opens it decides whether to trust that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

NOTE_MARK = "\0"
PART_MARK = "/"
ENTITY_MARK = "@"
"""How keys are told apart: a note begins so, a part holds it, an entity begins so."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a store is."""

    log_offset: int
    """The next changelog record to read."""
    position: int | None
    """The inbox position in the newest position record before it."""
    at: float
    """When the changelog was known to end there, in seconds since the epoch."""


class Store(Protocol):
    """The bytes of one partition. Owned by one thread; calls may block for a disk.

    `get`, `names` and `mark` raise `StateLostError` when what is stored cannot be trusted.
    """

    found: Mark | None
    """How far it was when it was opened; `None`: it is new, and empty."""
    discarded: str | None
    """Why what was there when it was opened was thrown away: a stable word."""

    def get(self, key: str) -> bytes | None:
        """The value of a key."""

    def put(self, key: str, value: bytes | None, due: float | None = None) -> None:
        """A value as of now, with the time of its next tick; `None` drops it."""

    def names(self, prefix: str) -> Sequence[str]:
        """The keys that begin so."""

    def remember(self, entry: bytes) -> None:
        """Keep an entry of `coordinator.closed`."""

    def forget_before(self, hour: int) -> None:
        """Entries of earlier hours need not be kept any more."""

    def mark(self, mark: Mark) -> None:
        """What was put so far is the state as of this mark; it may be written now or later."""

    def entries(self) -> Iterable[tuple[str, float | None]]:
        """Every key with its due time, if it has one."""

    def remembered(self) -> Iterable[bytes]:
        """What was remembered: any number of entries, one behind the other."""

    def clear(self) -> None:
        """Be new and empty."""

    def close(self) -> None:
        """Write what is left and free what is held."""


class DictStore:
    """Everything in memory; what was there is gone when the process is."""

    found: Mark | None = None
    discarded: str | None = None

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._parts: dict[str, dict[str, bytes]] = {}

    def get(self, key: str) -> bytes | None:
        return self._of(key).get(key)

    def put(self, key: str, value: bytes | None, due: float | None = None) -> None:
        if value is not None:
            if is_part(key):
                self._parts.setdefault(key.partition(PART_MARK)[0], {})[key] = value
            else:
                self.values[key] = value
            return
        values = self._of(key)
        values.pop(key, None)
        if not values and values is not self.values:
            self._parts.pop(key.partition(PART_MARK)[0], None)

    def names(self, prefix: str) -> Sequence[str]:
        return tuple(key for key in self._of(prefix) if key.startswith(prefix))

    def remember(self, entry: bytes) -> None:
        """The set in memory is all there is."""

    def forget_before(self, hour: int) -> None:
        """Likewise."""

    def mark(self, mark: Mark) -> None:
        """It is never read back."""

    def entries(self) -> Iterable[tuple[str, float | None]]:
        return ()

    def remembered(self) -> Iterable[bytes]:
        return ()

    def clear(self) -> None:
        self.values.clear()
        self._parts.clear()

    def close(self) -> None:
        """Nothing to free."""

    def _of(self, key: str) -> dict[str, bytes]:
        """What holds this key: the parts of a case lie by themselves, to be found by their case."""
        if not is_part(key):
            return self.values
        return self._parts.get(key.partition(PART_MARK)[0], {})


def is_part(key: str) -> bool:
    """Whether this is the key of a part of a case."""
    return PART_MARK in key and key[0] != NOTE_MARK
