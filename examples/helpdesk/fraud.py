"""A payment that looks odd: score it from history and rules, then hold, release or review.

The score is a naive Bayes estimate: how often payments of this amount band, category and time of
day were fraud in the history, each rate pulled towards the overall one by ten payments' weight.
Rules raise a score and say so; they never lower it. What is neither clear enough to hold nor
harmless enough to release is a review: a person decides, and the case escalates.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

from pydantic import Field

from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.tickets import Message, Name, Share

AMOUNT_BANDS = (50.0, 200.0, 600.0)
PRIOR_PAYMENTS = 10
HOLD_FROM = 0.5
RELEASE_BELOW = 0.2

Decided = Literal["hold", "release", "review"]


class Payment(Message):
    """The data of `fraud.alert.triggered`: a card payment that tripped an alert."""

    payment_id: Name
    customer: Name
    category: Name
    amount: float = Field(ge=0, le=1e9, allow_inf_nan=False)
    currency: str = Field(default="", max_length=10)
    merchant: str = Field(default="", max_length=200)
    state: str = Field(default="", max_length=50)
    paid_at: datetime


class FraudScore(Message):
    """How probable fraud is, and what spoke for it."""

    probability: Share
    rules: tuple[str, ...] = ()
    reason: str


class FraudDecision(Message):
    """The result's output. A review is a decision not taken: its confidence is 0."""

    decision: Decided
    probability: Share
    confidence: Share
    reason: str


@dataclass(frozen=True)
class History:
    """Fraud rates of past payments."""

    base: float
    rates: Mapping[tuple[str, str], float]
    defrauded: frozenset[str]

    @classmethod
    def of(cls, past: Iterable[tuple[Payment, bool]]) -> History:
        """Count the past payments; at least one has to be fraud, and one not."""
        seen: Counter[tuple[str, str]] = Counter()
        fraud: Counter[tuple[str, str]] = Counter()
        payments = list(past)
        for payment, is_fraud in payments:
            seen.update(traits(payment))
            fraud.update(traits(payment) if is_fraud else ())
        base = sum(is_fraud for _, is_fraud in payments) / len(payments)
        prior = PRIOR_PAYMENTS * base
        rates = {each: (fraud[each] + prior) / (n + PRIOR_PAYMENTS) for each, n in seen.items()}
        return cls(base, rates, frozenset(p.customer for p, is_fraud in payments if is_fraud))


def traits(payment: Payment) -> list[tuple[str, str]]:
    """What of a payment the rates are kept for."""
    return [
        ("amount", str(bisect_right(AMOUNT_BANDS, payment.amount))),
        ("category", payment.category),
        ("hours", str(payment.paid_at.hour // 6)),
    ]


def score_payment(payment: Payment, history: History) -> FraudScore:
    """The probability by history, raised to a review by any rule that applies."""
    evidence = {
        name: _log_odds(history.rates.get((name, value), history.base)) - _log_odds(history.base)
        for name, value in traits(payment)
    }
    by_history = 1 / (1 + math.exp(-_log_odds(history.base) - sum(evidence.values())))
    rules = tuple(rule for rule, applies in _rules(payment, history) if applies)
    probability = max(by_history, RELEASE_BELOW) if rules else by_history
    strongest = max(evidence, key=lambda name: abs(evidence[name]))
    return FraudScore(
        probability=round(probability, 4),
        rules=rules,
        reason=f"{by_history:.0%} by history, most by {strongest}"
        + (f"; rules: {', '.join(rules)}" if rules else ""),
    )


def decide_payment(score: FraudScore) -> FraudDecision:
    """Hold, release, or leave it to a person."""
    decision: Decided = "review"
    confidence = 0.0
    if score.probability >= HOLD_FROM:
        decision, confidence = "hold", score.probability
    elif score.probability < RELEASE_BELOW:
        decision, confidence = "release", 1 - score.probability
    return FraudDecision(
        decision=decision,
        probability=score.probability,
        confidence=round(confidence, 4),
        reason=score.reason,
    )


def _rules(payment: Payment, history: History) -> list[tuple[str, bool]]:
    return [
        ("amount far above the usual", payment.amount >= AMOUNT_BANDS[-1]),
        ("customer was defrauded before", payment.customer in history.defrauded),
    ]


def _log_odds(rate: float) -> float:
    return math.log(rate / (1 - rate))


@cache
def history() -> History:
    """The payments before those that the demo publishes."""
    return History.of(
        (Payment.model_validate(row), row["fraud"]) for row in _rows("payments_history.jsonl")
    )


def _rows(name: str) -> Iterable[dict[str, Any]]:
    return read_jsonl(DATA / name)
