"""Whose turn it is among tenants: the one with the fewest running goes first. Pure.

Max-min fairness over what runs (Bertsekas and Gallager, "Data Networks", 6.5.2), every weight one:
a tenant that wants less than its share gets all it wants, the others share the rest evenly, and a
tenant alone has everything. Counting what runs, and not what starts, keeps it fair when the work of
one tenant takes a thousand times as long as that of another. Ties go in turn. Nothing is taken from
work that runs: a share is reached as work ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")

Tenant = str | None
"""Work without a tenant shares as if that were one."""


class FairLine(Generic[W]):
    """Work that waits, a line per tenant. Every operation but `drop` is O(1), amortised.

    Tenants that wait stand on levels by how many of theirs run. The lowest level goes first, and
    there whoever came to it first.
    """

    __slots__ = ("_levels", "_lines", "_lowest", "_running", "waiting")

    def __init__(self) -> None:
        self._lines: dict[Tenant, deque[W]] = {}
        """Of those that have work waiting."""
        self._running: dict[Tenant, int] = {}
        """Of those that have work running."""
        self._levels: dict[int, dict[Tenant, None]] = {}
        """Tenants that have work waiting, by how many of theirs run."""
        self._lowest = 0
        """No level is lower."""
        self.waiting = 0

    def put(self, tenant: Tenant, work: W, *, first: bool = False) -> None:
        """Work that waits; *first* before all else of its tenant."""
        self.waiting += 1
        line = self._lines.get(tenant)
        if line is None:
            self._lines[tenant] = deque((work,))
            self._climb(tenant, self._running.get(tenant, 0))
        elif first:
            line.appendleft(work)
        else:
            line.append(work)

    def take(self) -> W | None:
        """The work whose turn it is; it runs until `end` is called for its tenant."""
        levels = self._levels
        if not levels:
            return None
        while self._lowest not in levels:
            self._lowest += 1
        running = self._lowest
        tenant = next(iter(levels[running]))
        line = self._lines[tenant]
        work = line.popleft()
        self.waiting -= 1
        self._running[tenant] = running + 1
        if line and len(levels) == 1 and len(levels[running]) == 1:  # it waits alone
            levels[running + 1] = levels.pop(running)
            self._lowest = running + 1
            return work
        self._leave(tenant, running)
        if line:
            self._climb(tenant, running + 1)
        else:
            del self._lines[tenant]
        return work

    def begin(self, tenant: Tenant) -> None:
        """Work of this tenant runs that never waited here."""
        running = self._running.get(tenant, 0)
        self._running[tenant] = running + 1
        if tenant in self._lines:
            self._leave(tenant, running)
            self._climb(tenant, running + 1)

    def end(self, tenant: Tenant) -> None:
        """Work of this tenant runs no longer."""
        running = self._running[tenant]
        if running > 1:
            self._running[tenant] = running - 1
        else:
            del self._running[tenant]
        if tenant in self._lines:
            self._leave(tenant, running)
            self._climb(tenant, running - 1)

    def drop(self, gone: Callable[[W], bool]) -> list[W]:
        """Take waiting work away; what runs ends by `end` all the same."""
        dropped: list[W] = []
        for tenant, line in list(self._lines.items()):
            dropped += [work for work in line if gone(work)]
            kept = deque(work for work in line if not gone(work))
            if kept:
                self._lines[tenant] = kept
            else:
                del self._lines[tenant]
                self._leave(tenant, self._running.get(tenant, 0))
        self.waiting -= len(dropped)
        return dropped

    def _climb(self, tenant: Tenant, level: int) -> None:
        if not self._levels or level < self._lowest:
            self._lowest = level
        self._levels.setdefault(level, {})[tenant] = None

    def _leave(self, tenant: Tenant, level: int) -> None:
        there = self._levels[level]
        del there[tenant]
        if not there:
            del self._levels[level]
