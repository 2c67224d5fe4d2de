"""How long nothing came although something was due: pure.

A lane is what stands still together: the events of one partition, or the cases of one. With three
coordinators the others' lanes go on while one is dead; only lane by lane its silence is seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

NOTICED_S = 0.05
"""Shorter silences are counted, not kept one by one."""
SAMPLE_MAX = 100_000


@dataclass(slots=True)
class _Lane:
    waiting: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A fault that was done to somebody at a time."""

    at: float
    fault: str
    victim: str


@dataclass(slots=True)
class Silences:
    """Told of every case that begins and ends, with the lanes that it belongs to."""

    lanes: dict[Hashable, _Lane] = field(default_factory=lambda: defaultdict(_Lane))
    found: list[tuple[float, float]] = field(default_factory=list)
    """From, until."""
    short: list[float] = field(default_factory=list)

    def begun(self, lanes: Iterable[Hashable], now: float) -> None:
        """A case waits in these lanes from now on."""
        for name in lanes:
            lane = self.lanes[name]
            if not lane.waiting:
                lane.since = now
            lane.waiting += 1

    def ended(self, lanes: Iterable[Hashable], now: float) -> None:
        """A case of these lanes was answered."""
        for name in lanes:
            lane = self.lanes[name]
            lane.waiting -= 1
            self._note(lane.since, now)
            lane.since = now

    def close(self, now: float) -> None:
        """It is over: what still waits has been silent until now."""
        for lane in self.lanes.values():
            if lane.waiting:
                self._note(lane.since, now)

    @property
    def normal_s(self) -> float:
        """The usual time between two answers of one lane."""
        return median(self.short) if self.short else 0.0

    def stall_s(self, mark: Mark, until: float) -> float:
        """The longest silence that a fault fell into or that began after it, less the usual."""
        found = [b - a for a, b in self.found if b > mark.at and a < until]
        return max(0.0, max(found, default=0.0) - self.normal_s)

    def _note(self, since: float, now: float) -> None:
        if now - since >= NOTICED_S:
            self.found.append((since, now))
        if len(self.short) < SAMPLE_MAX:
            self.short.append(now - since)


def stalls_of(silences: Silences, marks: Sequence[Mark], end: float) -> list[tuple[Mark, float]]:
    """Each fault's stall: the longest silence around it, or from it until the next fault."""
    following = [*(mark.at for mark in marks[1:]), end][: len(marks)]
    return [
        (mark, silences.stall_s(mark, until)) for mark, until in zip(marks, following, strict=True)
    ]
