"""Work of one key one after another, work of different keys side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

W = TypeVar("W")


class Lanes(Generic[W]):
    """A lane per key that has work; the head of each lane is out, the others wait their turn.

    Work without a key (`None`) has no order and never waits.
    """

    __slots__ = ("_lanes", "waiting")

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[W] | None] = {}
        """What waits behind the head of each; nothing yet is `None`."""
        self.waiting = 0
        """How much waits behind a head."""

    def enter(self, key: Hashable | None, work: W) -> bool:
        """Put work on its lane; true when it may start at once."""
        if key is None:
            return True
        if key not in self._lanes:
            self._lanes[key] = None
            return True
        lane = self._lanes[key]
        if lane is None:
            self._lanes[key] = deque((work,))
        else:
            lane.append(work)
        self.waiting += 1
        return False

    def has(self, key: Hashable) -> bool:
        """Whether this lane has work."""
        return key in self._lanes

    def depth(self, key: Hashable) -> int:
        """How much waits behind the head of a lane."""
        return len(self._lanes.get(key) or ())

    def leave(self, key: Hashable | None) -> W | None:
        """The head of a lane is done; returns the next, which may start now."""
        if key is None:
            return None
        lane = self._lanes[key]
        if not lane:
            del self._lanes[key]
            return None
        self.waiting -= 1
        return lane.popleft()

    def drop(self, gone: Callable[[W], bool]) -> list[W]:
        """Take waiting work away; heads that are out leave by `leave` all the same."""
        dropped: list[W] = []
        for key, lane in self._lanes.items():
            if lane:
                dropped += [work for work in lane if gone(work)]
                self._lanes[key] = deque(work for work in lane if not gone(work))
        self.waiting -= len(dropped)
        return dropped
