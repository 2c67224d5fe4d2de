"""Timers of one partition: pure, in coarse slots, at most one armed slot per key.

The durable truth is the case's own state; this index is rebuilt on restore. A timer may fire
early or for a case that has moved on: the case machine then does nothing and arms the next.

Two levels, as in hashed and hierarchical timing wheels (Varghese and Lauck, 1987): what is due
soon lies in fine slots, the rest in coarse ones that are opened when their time comes. So a
million deadlines, spread over a day, share some thousand dictionaries.
"""

from __future__ import annotations

from heapq import heappop, heappush

SLOT_S = 0.05
COARSE = 1280
"""Fine slots in a coarse one: 64 s."""
NEVER = 1 << 62


class Timers:
    """When each key needs a tick, to the resolution of a slot."""

    def __init__(self) -> None:
        self._armed: dict[str, int] = {}
        self._fine = _Slots()
        self._coarse = _Slots()
        self._opened = -1
        """The newest coarse slot that was opened: what is due until then lies in fine ones."""

    def arm(self, key: str, due: float) -> None:
        """Fire at `due` (seconds since the epoch) or a slot later; an earlier timer stays."""
        slot = int(due / SLOT_S) + 1
        armed = self._armed.get(key)
        if armed is not None:
            if armed <= slot:
                return
            self.disarm(key)
        self._armed[key] = slot
        coarse = slot // COARSE
        if coarse <= self._opened:
            self._fine.add(slot, key)
        else:
            self._coarse.add(coarse, key)

    def disarm(self, key: str) -> None:
        """Forget a key; a slot that is empty goes when its time comes."""
        slot = self._armed.pop(key, None)
        if slot is None:
            return
        coarse = slot // COARSE
        if coarse <= self._opened:
            self._fine.drop(slot, key)
        else:
            self._coarse.drop(coarse, key)

    def due(self, now: float, limit: int) -> list[str]:
        """Keys whose slot has passed, at most `limit` of them plus the rest of a slot.

        They stay due until `fired`: a turn that aborts has fired nothing.
        """
        last = int(now / SLOT_S)
        if self._coarse.first <= last // COARSE:
            self._unfold(last // COARSE)
        if self._fine.first > last:
            return []
        found: list[str] = []
        for slot in sorted(slot for slot in self._fine.heap if slot <= last):
            found += self._fine.keys[slot]
            if len(found) >= limit:
                break
        return found

    def fired(self, now: float, keys: list[str]) -> None:
        """These were ticked in a committed turn: they are armed again by their new state."""
        last = int(now / SLOT_S)
        for key in keys:
            slot = self._armed.get(key)
            if slot is not None and slot <= last:
                self.disarm(key)
        while self._fine.first <= last and not self._fine.keys[self._fine.first]:
            self._fine.pop()

    def _unfold(self, upto: int) -> None:
        """Spread the coarse slots whose time has come over fine ones."""
        self._opened = max(self._opened, upto)
        while self._coarse.first <= upto:
            for key in self._coarse.pop():
                self._fine.add(self._armed[key], key)

    def __contains__(self, key: object) -> bool:
        """Whether a key is armed."""
        return key in self._armed

    def __len__(self) -> int:
        """How many keys are armed."""
        return len(self._armed)


class _Slots:
    """Keys by slot, and which slot comes first. Dictionaries keep the order of arming."""

    __slots__ = ("heap", "keys")

    def __init__(self) -> None:
        self.keys: dict[int, dict[str, None]] = {}
        self.heap: list[int] = []

    @property
    def first(self) -> int:
        return self.heap[0] if self.heap else NEVER

    def add(self, slot: int, key: str) -> None:
        bucket = self.keys.get(slot)
        if bucket is None:
            self.keys[slot] = {key: None}
            heappush(self.heap, slot)
        else:
            bucket[key] = None

    def drop(self, slot: int, key: str) -> None:
        self.keys[slot].pop(key, None)

    def pop(self) -> dict[str, None]:
        return self.keys.pop(heappop(self.heap))
