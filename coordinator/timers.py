"""Timers of one partition: pure, in coarse slots, at most one armed slot per case.

The durable truth is the case's own state; this index is rebuilt on restore. A timer may fire
early or for a case that has moved on: the case machine then does nothing and arms the next.
"""

from __future__ import annotations

from heapq import heappop, heappush

SLOT_S = 0.05


class Timers:
    """When each case needs a tick, to the resolution of a slot."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, None]] = {}
        self._heap: list[int] = []
        self._armed: dict[str, int] = {}

    def arm(self, case_id: str, due: float) -> None:
        """Fire at `due` (seconds since the epoch) or a slot later; an earlier timer stays."""
        slot = int(due / SLOT_S) + 1
        armed = self._armed.get(case_id)
        if armed is not None and armed <= slot:
            return
        self.disarm(case_id)
        self._armed[case_id] = slot
        bucket = self._slots.get(slot)
        if bucket is None:
            self._slots[slot] = {case_id: None}
            heappush(self._heap, slot)
        else:
            bucket[case_id] = None

    def disarm(self, case_id: str) -> None:
        """Forget a case; a slot that is empty goes when its time comes."""
        slot = self._armed.pop(case_id, None)
        bucket = None if slot is None else self._slots.get(slot)
        if bucket is not None:
            bucket.pop(case_id, None)

    def due(self, now: float, limit: int) -> list[str]:
        """Cases whose slot has passed, at most `limit` of them plus the rest of a slot.

        They stay due until `fired`: a turn that aborts has fired nothing.
        """
        found: list[str] = []
        for slot in (
            sorted(slot for slot in self._heap if slot * SLOT_S <= now)
            if (self._heap and self._heap[0] * SLOT_S <= now)
            else ()
        ):
            found += [case_id for case_id in self._slots[slot] if self._armed.get(case_id) == slot]
            if len(found) >= limit:
                break
        return found

    def fired(self, now: float, case_ids: list[str]) -> None:
        """These were ticked in a committed turn: they are armed again by their new state."""
        for case_id in case_ids:
            slot = self._armed.get(case_id)
            if slot is not None and slot * SLOT_S <= now:
                del self._armed[case_id]
        while self._heap and self._heap[0] * SLOT_S <= now:
            slot = self._heap[0]
            left = {c: None for c in self._slots[slot] if self._armed.get(c) == slot}
            if left:
                self._slots[slot] = left
                break
            heappop(self._heap)
            del self._slots[slot]

    def __len__(self) -> int:
        """How many cases are armed."""
        return len(self._armed)
