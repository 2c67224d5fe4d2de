"""Whether a partition moves: the rules of Burrow over a sliding window of looks. Pure.

Source: github.com/linkedin/Burrow, `core/internal/evaluator/caching.go`, rules 1 to 5. It sees
every commit; here a partition is looked at now and then, so a commit is a look at which the
position or the text beside it was another than before. Two more differences, each because of a
wrong answer: a position that fell is a REWIND although the lag was nil before (somebody reset the
group), and the window slides although nobody commits (one nil is not good for ever).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from caseworks.lag.views import State


class Sample(NamedTuple):
    """One look at a partition."""

    at: float
    position: int
    """Committed, or the first offset there is."""
    text: str
    """What stands beside the commit: tells one that moved nothing."""
    lag: int


class Window:
    """The looks at one partition during the last *seconds*, and one from before."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._samples: deque[Sample] = deque()

    def clear(self) -> None:
        """Watch anew."""
        self._samples.clear()

    def add(self, sample: Sample) -> None:
        """Looks come in the order of time."""
        self._samples.append(sample)
        since = sample.at - self.seconds
        while len(self._samples) > 1 and self._samples[1].at <= since:
            self._samples.popleft()

    def judge(self) -> State | None:
        """What the newest look says; `None` until it was watched for long enough."""
        now = self._samples[-1]
        if now.lag == 0:
            return "OK"
        if any(after.position < before.position for before, after in pairwise(self._samples)):
            return "REWIND"
        if any(each.lag == 0 for each in self._samples):
            return "OK"
        if now.at - self._samples[0].at < self.seconds:
            return None
        return _rules(self._samples)


def _rules(samples: Sequence[Sample]) -> State:
    """Rules 3, 4 and 5 for a window in which something waited all the time."""
    pairs = list(pairwise(samples))
    if all(before[1:3] == after[1:3] for before, after in pairs):
        return "STOP"
    if all(before.position == after.position for before, after in pairs):
        return "STALL"
    if all(after.lag >= before.lag for before, after in pairs):
        return "WARN"
    return "OK"
