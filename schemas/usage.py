"""What work costs, and what it may cost."""

from __future__ import annotations

from decimal import Decimal

from pydantic import NonNegativeInt

from schemas.base import Message


class Usage(Message):
    """What was spent; `usd` is a decimal string on the wire."""

    tokens_in: NonNegativeInt = 0
    tokens_out: NonNegativeInt = 0
    usd: Decimal = Decimal(0)
    calls: NonNegativeInt = 0
    iterations: NonNegativeInt = 0

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was spent."""
        return not (self.iterations or self.calls or self.tokens_in or self.tokens_out or self.usd)

    def __add__(self, other: Usage) -> Usage:
        """The sum of two spendings."""
        if other.is_nothing:
            return self
        if self.is_nothing:
            return other
        return Usage(
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            usd=self.usd + other.usd,
            calls=self.calls + other.calls,
            iterations=self.iterations + other.iterations,
        )


class Budget(Message):
    """What a task may spend; `None` is no limit of its own (the agent's limits still hold)."""

    tokens: NonNegativeInt | None = None
    usd: Decimal | None = None
    calls: NonNegativeInt | None = None
    iterations: NonNegativeInt | None = None


NOTHING = Usage()
NO_LIMIT = Budget()
