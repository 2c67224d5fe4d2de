"""Units of the projection: milliseconds, billionths of a dollar, buckets of durations. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from math import floor, log

BUCKET_GROWTH = 1.1
"""Each bucket of durations ends a tenth above where it begins: a quantile is off by 5 %."""
_LOG_GROWTH = log(BUCKET_GROWTH)
NANO = Decimal(1_000_000_000)
NANO_MOST = Decimal(2**62)


def instant_of(epoch_ms: int | None) -> str | None:
    """RFC 3339 in UTC; `None` where there is none, or none that a calendar has."""
    if epoch_ms is None:
        return None
    try:
        at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def ms_of(epoch_s: float | None) -> int | None:
    """Whole milliseconds."""
    return None if epoch_s is None else round(epoch_s * 1000)


def usd_of(nanousd: int | None) -> str:
    """Dollars as a decimal string."""
    text = f"{Decimal(nanousd or 0) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=4096)  # most costs are few different ones
def nanousd_of(usd: str) -> int:
    """Billionths of a dollar of a decimal string, within what a column holds.

    Raises `ArithmeticError` for what is none.
    """
    return int(max(-NANO_MOST, min(NANO_MOST, Decimal(usd) * NANO)))


@lru_cache(maxsize=4096)
def bucket_of(ms: int) -> int:
    """The bucket of a duration."""
    return floor(log(ms) / _LOG_GROWTH) if ms > 1 else 0


def quantile(buckets: Iterable[tuple[int, int]], share: float) -> int | None:
    """The duration in ms below which that share lies; *buckets*: sorted pairs of bucket and n."""
    counted = list(buckets)
    left = share * sum(n for _, n in counted)
    for bucket, n in counted:
        left -= n
        if left <= 0 < n:
            return int(BUCKET_GROWTH ** (bucket + 0.5) + 0.5)
    return None
