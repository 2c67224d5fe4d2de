"""Which offsets of one partition are finished, in one epoch of its assignment.

Only *observed* offsets count: transaction markers and compaction leave gaps in a log, so nothing
here expects the next number. The watermark is the position that may be committed: the lowest
unfinished offset, else the one behind the highest that was seen (I8).
Source: the offset tracking of confluentinc/parallel-consumer, reduced to a queue and a set.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile


class Ledger:
    """Offsets are observed in rising order and finished in any; all operations are O(1) amortised.

    Example:
        `observe(3); observe(7); finish(7)`: the watermark is 3. `finish(3)`: it is 8.
    """

    __slots__ = ("_order", "_unfinished", "done", "end", "finished")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._unfinished: dict[int, int] = {}
        """In rising order, with their timestamps."""
        self.end: int | None = None
        """The position behind the highest observed offset."""
        self.done = 0
        """The position behind the highest finished offset."""
        self.finished = 0
        """How many offsets were finished so far."""

    def observe(self, offset: int, timestamp_ms: int = 0) -> bool:
        """An offset was delivered; false when it was seen before and is to be left alone."""
        if self.end is not None and offset < self.end:
            return False
        self._order.append(offset)
        self._unfinished[offset] = timestamp_ms
        self.end = offset + 1
        return True

    def finish(self, offset: int) -> bool:
        """An offset is done for good; false when it is not known as unfinished."""
        if offset not in self._unfinished:
            return False
        del self._unfinished[offset]
        if offset >= self.done:
            self.done = offset + 1
        self.finished += 1
        while self._order and self._order[0] not in self._unfinished:
            self._order.popleft()
        return True

    @property
    def watermark(self) -> int | None:
        """The position to commit; `None` before anything was observed."""
        return self._order[0] if self._order else self.end

    @property
    def unfinished(self) -> int:
        """How many observed offsets are not finished."""
        return len(self._unfinished)

    @property
    def head_ms(self) -> int:
        """The timestamp of what holds the watermark back; 0 if nothing does."""
        return self._unfinished[self._order[0]] if self._order else 0

    def gaps(self) -> tuple[int, ...]:
        """The unfinished offsets below the highest finished one, rising."""
        return tuple(takewhile(lambda offset: offset < self.done, self._unfinished))

    @property
    def span(self) -> int:
        """How far observing has run ahead of the oldest unfinished offset."""
        return self.end - self._order[0] if self.end is not None and self._order else 0
