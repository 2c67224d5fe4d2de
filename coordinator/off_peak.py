"""Off-peak windows: when events of priority `deferred` begin, in the hours of a time zone.

A window is a span of wall-clock time each day (`22:00-06:00`; the end may be on the next day).
Where the clock jumps, an hour that does not exist is taken as the one after it, and of an hour that
comes twice the first counts (PEP 495).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from coordinator.backoff import fraction
from events.errors import DeclarationError

SPREAD_S_MAX = 900.0
"""What was held begins spread over so long, or a quarter of the window where that is shorter."""
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class OffPeak:
    """A window of each day."""

    begins: time
    ends: time
    zone: tzinfo

    def start_for(self, case_id: str, now: float) -> float | None:
        """When a case begins that may not begin now; `None`: it may."""
        today = datetime.fromtimestamp(now, self.zone).date()
        for days in range(-1, 3):
            begins = datetime.combine(today + timedelta(days), self.begins, self.zone).timestamp()
            over_night = self.ends <= self.begins
            last = today + timedelta(days + over_night)
            ends = datetime.combine(last, self.ends, self.zone).timestamp()
            if begins <= now < ends:
                return None
            if begins > now:
                spread = min(SPREAD_S_MAX, (ends - begins) / 4)
                return begins + max(0.0, spread) * fraction(case_id, 0)
        raise AssertionError("a window comes every day")


@lru_cache(maxsize=256)
def off_peak_of(hours: str, zone: str) -> OffPeak:
    """The window of a workflow. Raises `DeclarationError`."""
    found = _HOURS.fullmatch(hours)
    if found is None:
        raise DeclarationError(f"`off_peak` is {hours!r}: write hours, as in 22:00-06:00")
    begins, ends = (time(int(found[at]), int(found[at + 1])) for at in (1, 3))
    if begins == ends:
        raise DeclarationError(f"`off_peak` is {hours!r}, which is empty or a whole day: remove it")
    return OffPeak(begins, ends, _zone(zone))


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DeclarationError(
            f"`off_peak_zone` is {name!r}, which this machine does not know: write it as in "
            "Europe/Berlin, and install the time zones (tzdata) where they are missing"
        ) from None
