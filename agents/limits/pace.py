"""How fast an agent takes tasks: learnt while all is well, not quite doubled while it recovers.

A token bucket filled at 1.8 times the rate of the last free seconds. Tasks are counted, not calls:
what a task calls does not change with an outage, so the calls keep to the same bound. Once the
fleet says `free` again, what still waits does not come at once either: the factor grows with every
ten seconds by itself, until the bucket stays half full because nothing waits any more.
"""

from __future__ import annotations

from collections import deque

from agents.limits.fleet import Standing

SPAN_S = 10.0
"""The rate is that of so many seconds."""
TIMES = 1.8
"""Below two, so that a rate measured a little high does not cross it."""
RATE_PER_S = 5.0
"""For an agent that has taken nothing yet."""
BURST_S = 0.25
SPANS_MAX = 20.0
"""Beyond so many spans of recovery the factor (127,000) is none any more."""
CAUGHT_UP_S = 1.0
"""The bucket was half full for so long: nothing waits."""


class Pace:
    """Of one worker loop; `now` is in seconds and may jump."""

    __slots__ = (
        "_filled_s",
        "_first_s",
        "_freed_s",
        "_last_s",
        "_low_s",
        "_recovering",
        "_taken",
        "_tokens",
    )

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._tokens = 0.0
        self._filled_s: float | None = None
        self._low_s = 0.0
        self._recovering = False
        self._freed_s: float | None = None
        """Since when the gate says `free` and it has not caught up."""

    def standing(self, gate: Standing, now: float) -> Standing:
        """What the gate says; but who recovers goes on slowly, ever less so, until it caught up."""
        if gate != "free":
            self._freed_s = None
            self._recovering = self.rate_per_s > 0 if gate == "slow" else self._recovering
            return gate
        if self._freed_s is None or now < self._freed_s:
            self._freed_s = now
        if self._recovering and self._filled_s is not None and 0 <= now - self._low_s < CAUGHT_UP_S:
            return "slow"
        self._recovering = False
        return "free"

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
        rate_per_s = self._times(now) * (self.rate_per_s or RATE_PER_S)
        most = max(rate_per_s * BURST_S, 1.0)
        if self._filled_s is None or now < self._filled_s:
            self._filled_s, self._tokens, self._low_s = now, 1.0, now
        if self._tokens < most / 2:
            self._low_s = now
        self._tokens = min(self._tokens + (now - self._filled_s) * rate_per_s, most)
        self._filled_s = now
        return int(self._tokens)

    def _times(self, now: float) -> float:
        if self._freed_s is None:
            return TIMES
        spans = min(1.0 + (now - self._freed_s) / SPAN_S, SPANS_MAX)
        return float(TIMES**spans)

    def spend(self, n: int) -> None:
        """So many of those were taken."""
        self._tokens -= n
