"""Where the state of a partition lies: the port.

A store holds what a changelog says, under the changelog's keys, and a *mark*: how far the
changelog is in it. It may lag behind (the rest is read again), and is never ahead: only what was
committed is put. Opened anew it says what it found; whoever opens it decides whether to trust that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a store is."""

    log_offset: int
    """The next changelog record to read."""
    position: int | None
    """The input position in the newest position record before it."""
    at: float
    """When the changelog was known to end there, in seconds since the epoch."""


class Store(Protocol):
    """The bytes of one partition. Owned by one thread; calls may block for a disk.

    Every call raises `StateLostError` when what is stored cannot be trusted, or not be written.
    """

    partition: int
    found: Mark | None
    """How far it was when it was opened; `None`: it is new, and empty."""
    discarded: str | None
    """Why what was there when it was opened was thrown away: a stable word."""

    def get(self, key: str) -> bytes | None:
        """The value of a key."""

    def put(self, key: str, value: bytes | None, due: float | None = None) -> None:
        """A value as of now, with the time of its next tick; `None` drops it.

        Where values with such a time lie may be held in memory; others may be any number.
        """

    def names(self, prefix: str) -> Sequence[str]:
        """The keys that begin so, of values that have no time."""

    def remember(self, entry: bytes) -> None:
        """Keep an entry of the closed: a digest of 16 bytes and its hour in 4."""

    def forget_before(self, hour: int) -> None:
        """Entries of earlier hours need not be kept any more."""

    def mark(self, mark: Mark) -> None:
        """What was put so far is the state as of this mark; it may be written now or later."""

    def entries(self) -> Iterable[tuple[str, float | None]]:
        """Every key with its due time, if it has one. Asked of a store that was found, first."""

    def remembered(self) -> Iterable[bytes]:
        """What was remembered: any number of entries, one behind the other."""

    def clear(self) -> None:
        """Be new and empty."""

    def close(self) -> None:
        """Write what is left and free what is held."""
