"""Samples that come with every task: kept until there are many, or somebody reads.

prometheus-client takes a lock or two for each sample, and looks through a histogram's buckets one
by one. Imported by `events.metrics` when it makes a registry, and not before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable

from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric

KEPT_MAX = 512
"""Samples of one place that are kept before they are counted, all at once."""

Count = Callable[[list[float]], None]


class ManySamples(Histogram):
    """A histogram that can count many samples at once."""

    def observe_all(self, amounts: list[float]) -> None:
        """`observe` for each."""
        self._sum.inc(sum(amounts))
        bounds = self._upper_bounds
        for at, times in Counter(bisect_left(bounds, each) for each in amounts).items():
            self._buckets[at].inc(times)


class Kept:
    """What is kept of all places; the first collector of a registry.

    It gives nothing, but counts before the others are read: so whoever reads the registry reads
    everything.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[object, ...], _Place] = {}

    def adder(self, place: tuple[object, ...], count: Count) -> Callable[[float], None]:
        """Adds a sample to a place; *count* is told of many."""
        return self._places.setdefault(place, _Place(count)).add

    def collect(self) -> list[Metric]:
        """Count all that is kept."""
        for place in list(self._places.values()):
            place.flush()
        return []


class _Place:
    __slots__ = ("_count", "_kept")

    def __init__(self, count: Count) -> None:
        self._count = count
        self._kept: deque[float] = deque()

    def add(self, value: float) -> None:
        """Keep a sample. Thread-safe: appending is one step."""
        kept = self._kept
        kept.append(value)
        if len(kept) >= KEPT_MAX:
            self.flush()

    def flush(self) -> None:
        """Count what is kept. Thread-safe: each sample is taken by one."""
        kept, taken = self._kept, list[float]()
        while kept:
            try:
                taken.append(kept.popleft())
            except IndexError:  # another thread was quicker
                break
        if taken:
            self._count(taken)
