"""What a task costs an agent, learned from the attempts that ended. Pure.

Simple exponential smoothing (R. G. Brown, 1956): each attempt moves the mean by a share of its
distance. While there are few, the share is one in their number, so that the first weigh alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from caseworks.lag.views import Work

SHARE = 0.02
"""Of one attempt: half of the mean is of the last 34."""


class _Usage(msgspec.Struct):
    tokens_in: int = 0
    tokens_out: int = 0
    usd: Decimal = Decimal(0)


class Attempt(msgspec.Struct):
    """An outcome, as far as it says what it cost."""

    agent: str
    status: str
    started_at: datetime
    finished_at: datetime
    usage: _Usage = msgspec.field(default_factory=_Usage)


_DECODER = msgspec.json.Decoder(Attempt)


def read_attempt(data: bytes) -> Attempt | None:
    """What an outcome cost; `None` for what cannot be read, and one that was not tried."""
    try:
        found = _DECODER.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
    return None if found.status == "deferred" else found


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one attempt, on average."""

    seconds: float = 0.0
    tokens: float = 0.0
    usd: float = 0.0
    attempts: int = 0
    """How many it was learned from."""

    def learn(self, attempt: Attempt) -> Cost:
        """The mean with one more."""
        share = max(SHARE, 1 / (self.attempts + 1))
        took = max(0.0, (attempt.finished_at - attempt.started_at).total_seconds())
        tokens = attempt.usage.tokens_in + attempt.usage.tokens_out
        return Cost(
            self.seconds + share * (took - self.seconds),
            self.tokens + share * (tokens - self.tokens),
            self.usd + share * (float(attempt.usage.usd) - self.usd),
            self.attempts + 1,
        )

    def of(self, records: int) -> Work:
        """What so many will take; nothing is said before anything was learned."""
        if not self.attempts:
            return Work(records, *((0.0, 0.0, 0.0) if not records else (None, None, None)))
        return Work(
            records,
            round(records * self.seconds, 3),
            round(records * self.tokens, 1),
            round(records * self.usd, 6),
        )
