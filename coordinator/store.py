"""How keys of a changelog are told apart, and the store that is a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.store import Mark

NOTE_MARK = "\0"
PART_MARK = "/"
ENTITY_MARK = "@"
"""A note begins so, a part holds it, an entity begins so."""


def is_part(key: str) -> bool:
    """Whether this is the key of a part of a case."""
    return PART_MARK in key and key[0] != NOTE_MARK


class DictStore:
    """`events.store.Store` in memory; what was there is gone when the process is."""

    found: Mark | None = None
    discarded: str | None = None

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
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
