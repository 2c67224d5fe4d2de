"""How often a key may ask: sliding windows of a minute and of an hour, in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil

from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from caseworks.api.auth import Caller
from caseworks.api.problems import Problem


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of its limit a caller has left, as headers tell it."""

    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """As the IETF's RateLimit headers name it."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.remaining)),
            "RateLimit-Reset": str(self.reset_s),
        }


class RateLimits:
    """Counts the requests of each caller. Of one event loop; nothing here waits."""

    def __init__(self, per_minute: int, per_hour: int) -> None:
        """Of every caller whose key says nothing else; 0: no limit."""
        self._defaults = (per_minute, per_hour)
        self._windows = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, caller: Caller) -> Allowance | None:
        """Count one request. Raises `Problem` when it is one too many; that one is not counted.

        Returns what is left of the window that is nearest to its end of patience.
        """
        windows = self._windows_of(caller)
        for window in windows:
            if not self._windows.test(window, caller.name):
                self._refuse(window, caller)
        tightest: Allowance | None = None
        for window in windows:
            self._windows.hit(window, caller.name)
            left = self._left(window, caller)
            if (
                tightest is None
                or left.remaining * tightest.limit < tightest.remaining * left.limit
            ):
                tightest = left
        return tightest

    def _windows_of(self, caller: Caller) -> list[RateLimitItemPerMinute | RateLimitItemPerHour]:
        minute = self._defaults[0] if caller.per_minute is None else caller.per_minute
        hour = self._defaults[1] if caller.per_hour is None else caller.per_hour
        found: list[RateLimitItemPerMinute | RateLimitItemPerHour] = []
        if minute:
            found.append(RateLimitItemPerMinute(minute))
        if hour:
            found.append(RateLimitItemPerHour(hour))
        return found

    def _left(
        self, window: RateLimitItemPerMinute | RateLimitItemPerHour, caller: Caller
    ) -> Allowance:
        stats = self._windows.get_window_stats(window, caller.name)
        return Allowance(window.amount, stats.remaining, _until(stats.reset_time))

    def _refuse(
        self, window: RateLimitItemPerMinute | RateLimitItemPerHour, caller: Caller
    ) -> None:
        left = self._left(window, caller)
        each = "minute" if isinstance(window, RateLimitItemPerMinute) else "hour"
        raise Problem(
            "rate-limited",
            f"{caller.name} may ask {window.amount} times in a {each}",
            headers={"Retry-After": str(left.reset_s), **left.headers()},
        )


def _until(epoch_s: float) -> int:
    return max(1, ceil(epoch_s - time.time()))
