"""An agent version that fails and fails is paused before it has spoilt everything that waits.

One window of the last failures answers three questions. The error-pattern breaker: does it fail the
same way again and again? The dead-letter limiter: do most attempts fail, or so many in a row? A
healthy agent fails now and then as well, so that a pattern counts only where it is most of what
happens. Attempts that will be tried again are none of its business: those are the breakers'.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

PATTERN_CHARS = 120
_VARIABLE = re.compile(r"0x[0-9a-f]+|[0-9a-f-]{16,}|\d+|'[^']*'|\"[^\"]*\"", re.IGNORECASE)
"""What differs between two errors of one kind: numbers, ids, quoted values."""


@dataclass(frozen=True, slots=True)
class FailureLimits:
    """When an agent is paused."""

    window_s: float = 60.0
    same_max: int = 20
    """Failures of one pattern within the window; 0: nothing ever pauses it."""
    share_max: float = 0.5
    """Failures among the attempts since the oldest failure of the window."""
    failures_min: int = 50
    """Fewer failures than that, of different patterns, are no storm."""
    row_max: int = 50
    """Failures in a row, however long they take."""


class _Failure(NamedTuple):
    at: float
    pattern: str
    ended: int
    """Attempts that had ended by then, this one included."""


class FailureWindow:
    """Of one agent in one process; `now` in seconds since the epoch."""

    __slots__ = ("_ended", "_failures", "_row", "_same", "limits")

    def __init__(self, limits: FailureLimits | None = None) -> None:
        self.limits = limits or FailureLimits()
        self._failures: deque[_Failure] = deque()
        self._same: Counter[str] = Counter()
        self._ended = self._row = 0

    def well(self) -> None:
        """An attempt ended otherwise."""
        self._ended += 1
        self._row = 0

    def failed(self, kind: str, message: str, now: float) -> str:
        """An attempt failed for good; returns why the agent should pause, or nothing.

        What was said is forgotten then: it is said once for each time that it comes true.
        """
        if self.limits.same_max == 0:
            return ""
        self._ended += 1
        self._row += 1
        pattern = pattern_of(kind, message)
        self._failures.append(_Failure(now, pattern, self._ended))
        self._same[pattern] += 1
        keep = max(self.limits.failures_min, self.limits.same_max)
        while self._failures[0].at < now - self.limits.window_s or len(self._failures) > 2 * keep:
            gone = self._failures.popleft().pattern
            self._same[gone] -= 1
            if not self._same[gone]:
                del self._same[gone]
        why = self._why(pattern)
        if why:
            self._failures.clear()
            self._same.clear()
            self._row = 0
        return why

    def _why(self, pattern: str) -> str:
        limits, failures = self.limits, len(self._failures)
        since = self._ended - self._failures[0].ended + 1
        mostly = failures >= limits.share_max * since
        if mostly and self._same[pattern] >= limits.same_max:
            return f"{self._same[pattern]} times within {limits.window_s:g} s: {pattern}"
        if mostly and failures >= limits.failures_min:
            return f"{failures} of {since} attempts failed within {limits.window_s:g} s"
        if self._row >= limits.row_max:
            return f"{self._row} attempts failed in a row"
        return ""


def pattern_of(kind: str, message: str) -> str:
    """What failures of one cause have in common."""
    first = message.partition("\n")[0]
    return f"{kind}: {_VARIABLE.sub('*', first)}"[:PATTERN_CHARS]
