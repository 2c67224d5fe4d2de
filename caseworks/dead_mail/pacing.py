"""How fast letters are replayed, and how many go into one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from events.errors import PayloadError

BATCH_MAX = 100
"""Letters in one transaction; at a slow rate those of half a second."""
RATE_PER_S = 100.0
"""The default: a replay must not become a storm."""
RATE_PER_S_MIN = 0.01
"""A slower run would lose its seat in its group between two letters."""


def read_rate(text: str) -> float:
    """Letters in a second: `10`, `10/s`, `90/m`. Raises `PayloadError` for none at all."""
    number, _, unit = text.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        raise PayloadError("rate", f"{text!r} is no rate: say 10/s or 90/m") from None
    if not (RATE_PER_S_MIN <= rate < inf):
        told = f"a rate of {text} would not end: say 10/s or 90/m, at least 36/h"
        raise PayloadError("rate", told)
    return rate


@dataclass(slots=True)
class Pacer:
    """Keeps to a rate by waiting between batches."""

    rate_per_s: float = RATE_PER_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float | None = None

    @property
    def batch(self) -> int:
        """How many letters go into one transaction."""
        return max(1, min(BATCH_MAX, int(self.rate_per_s / 2)))

    def wait(self, count: int) -> None:
        """Wait until this many more may go."""
        now = self.clock()
        due = now if self._next is None else max(now, self._next)
        if due > now:
            self.sleep(due - now)
        self._next = due + count / self.rate_per_s
