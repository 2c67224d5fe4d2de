"""How fast an agent takes tasks: learnt while all is well, not quite doubled while it recovers.

A token bucket filled at 1.8 times the rate of the last free seconds. Tasks are counted, not calls:
what a task calls does not change with an outage, so the calls keep to the same bound.
"""

from __future__ import annotations

from collections import deque

SPAN_S = 10.0
"""The rate is that of so many seconds."""
TIMES = 1.8
"""Below two, so that a rate measured a little high does not cross it."""
RATE_PER_S = 5.0
"""For an agent that has taken nothing yet."""
BURST_S = 0.25


class Pace:
    """Of one worker loop; `now` is in seconds and may jump."""

    __slots__ = ("_filled_s", "_first_s", "_last_s", "_taken", "_tokens")

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._tokens = 0.0
        self._filled_s: float | None = None

    @property
    def rate_per_s(self) -> float:
        """Tasks a second, as last seen while all was well."""
        if self._first_s is None:
            return 0.0
        seen_s = min(max(self._last_s - self._first_s, 1.0), SPAN_S)
        return sum(n for _, n in self._taken) / seen_s

    def free(self, n: int, now: float) -> None:
        """So many were taken, as they came; called with 0 as well."""
        if self._first_s is None or now < self._last_s:
            self._first_s = now
            self._taken.clear()
        self._last_s, self._filled_s = now, None
        if n and self._taken and now - self._taken[-1][0] < 1.0:
            at, before = self._taken[-1]
            self._taken[-1] = (at, before + n)
        elif n:
            self._taken.append((now, n))
        while self._taken and self._taken[0][0] < now - SPAN_S:
            self._taken.popleft()

    def allowed(self, now: float) -> int:
        """How many may be taken now, while it recovers."""
        rate_per_s = TIMES * (self.rate_per_s or RATE_PER_S)
        if self._filled_s is None or now < self._filled_s:
            self._filled_s, self._tokens = now, 1.0
        self._tokens += (now - self._filled_s) * rate_per_s
        self._tokens = min(self._tokens, max(rate_per_s * BURST_S, 1.0))
        self._filled_s = now
        return int(self._tokens)

    def spend(self, n: int) -> None:
        """So many of those were taken."""
        self._tokens -= n
