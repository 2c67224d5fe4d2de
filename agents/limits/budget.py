"""What an attempt may spend: reserved before each call, settled after it.

`spent + reserved` never exceeds the limit (I6): a call whose worst case does not fit is not made,
and a price that nobody knows does not fit under a limit in money.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from events.errors import HaltedError
from schemas.lean import LeanBudget
from schemas.usage import NOTHING, Budget, Usage

Number = TypeVar("Number", int, Decimal)


class BudgetSpentError(HaltedError):
    """The next call could cost more than is left."""

    kind = "budget"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The worst case of one call; `usd` is `None` when nobody knows the price."""

    tokens: int = 0
    usd: Decimal | None = Decimal(0)
    calls: int = 1


class Meter:
    """The spending of one attempt. Used on one event loop; agents may call concurrently."""

    __slots__ = ("_reserved_calls", "_reserved_tokens", "_reserved_usd", "limit", "spent")

    def __init__(self, limit: Budget) -> None:
        self.limit = limit
        self.spent = NOTHING
        self._reserved_tokens = 0
        self._reserved_usd = Decimal(0)
        self._reserved_calls = 0

    def tokens_left(self) -> int | None:
        """Tokens that are neither spent nor reserved; `None` without a limit."""
        if self.limit.tokens is None:
            return None
        used = self.spent.tokens_in + self.spent.tokens_out + self._reserved_tokens
        return max(self.limit.tokens - used, 0)

    def reserve(self, estimate: Estimate) -> None:
        """Set the worst case of a call aside. Raises `BudgetSpentError` if it does not fit."""
        self._check(estimate)
        self._reserved_tokens += estimate.tokens
        self._reserved_usd += estimate.usd or 0
        self._reserved_calls += estimate.calls

    def settle(self, estimate: Estimate, spent: Usage) -> None:
        """Replace a reservation by what was spent in truth, also when the call failed."""
        self._reserved_tokens -= estimate.tokens
        self._reserved_usd -= estimate.usd or 0
        self._reserved_calls -= estimate.calls
        self.spent = self.spent + spent

    def _check(self, estimate: Estimate) -> None:
        limit = self.limit
        left = self.tokens_left()
        if left is not None and estimate.tokens > left:
            raise BudgetSpentError(f"{left} of {limit.tokens} tokens left")
        if limit.calls is not None:
            calls = self.spent.calls + self._reserved_calls
            if calls + estimate.calls > limit.calls:
                raise BudgetSpentError(f"{calls} of {limit.calls} calls made")
        if limit.usd is not None:
            if estimate.usd is None:
                raise BudgetSpentError(
                    f"the price is unknown and the budget is {limit.usd} USD",
                    hint="set the model's price: CASEWORKS_MODEL_USD_PER_MTOKEN_IN and _OUT",
                )
            usd = self.spent.usd + self._reserved_usd
            if usd + estimate.usd > limit.usd:
                raise BudgetSpentError(f"{usd} of {limit.usd} USD spent or reserved")


def tightest(one: Budget | LeanBudget, other: Budget) -> Budget:
    """The smaller limit of each kind."""
    return Budget(
        tokens=_smaller(one.tokens, other.tokens),
        usd=_smaller(one.usd, other.usd),
        calls=_smaller(one.calls, other.calls),
        iterations=_smaller(one.iterations, other.iterations),
    )


def _smaller(one: Number | None, other: Number | None) -> Number | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
