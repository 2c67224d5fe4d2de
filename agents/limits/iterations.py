"""The iteration limit: loops of an agent end, and say what they did."""

from __future__ import annotations

from collections import deque

from events.errors import HaltedError

TRACE_MAX = 20
TRACE_CHARS_MAX = 200


class IterationsSpentError(HaltedError):
    """The agent went round more often than it may."""

    kind = "iterations"


class Trace:
    """The last things an agent did, newest last, shortened."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=TRACE_MAX)

    def add(self, line: str) -> None:
        """Remember one thing."""
        self._lines.append(line[:TRACE_CHARS_MAX])

    def lines(self) -> tuple[str, ...]:
        """What is remembered."""
        return tuple(self._lines)


class Iterations:
    """Counts the turns of one attempt."""

    __slots__ = ("limit", "made", "trace")

    def __init__(self, limit: int, trace: Trace) -> None:
        self.limit = limit
        self.made = 0
        self.trace = trace

    def next(self, note: str = "") -> int:
        """Begin a turn; returns its number from 1. Raises `IterationsSpentError`."""
        if self.made >= self.limit:
            raise IterationsSpentError(f"{self.limit} iterations made", trace=self.trace.lines())
        self.made += 1
        self.trace.add(f"iteration {self.made}: {note}" if note else f"iteration {self.made}")
        return self.made
