from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from examples.helpdesk.demo import PAYMENT, demo_events, judge
from examples.helpdesk.fraud import (
    HOLD_FROM,
    RELEASE_BELOW,
    FraudScore,
    History,
    Payment,
    decide_payment,
    history,
    score_payment,
)

NOON = datetime(2023, 1, 1, 12, tzinfo=UTC)


def pay(amount: float = 10, category: str = "home", customer: str = "c") -> Payment:
    return Payment(
        payment_id="p", customer=customer, category=category, amount=amount, paid_at=NOON
    )


PAST = History.of(
    [
        *[(pay(10), False)] * 80,
        *[(pay(10, "travel", "other"), True)] * 10,
        *[(pay(10, "travel", "victim"), True)] * 10,
    ]
)


def test_what_was_often_fraud_scores_higher() -> None:
    home, travel = score_payment(pay(), PAST), score_payment(pay(category="travel"), PAST)

    assert home.probability < PAST.base < travel.probability


def test_what_was_never_seen_scores_as_all_payments_do() -> None:
    never = pay(category="moon").model_copy(update={"paid_at": NOON.replace(hour=3), "amount": 300})

    assert score_payment(never, PAST).probability == pytest.approx(PAST.base)


def test_a_rule_makes_a_harmless_payment_a_review_and_says_so() -> None:
    score = score_payment(pay(700), PAST)

    assert decide_payment(score).decision == "review"
    assert score.rules == ("amount far above the usual",)
    assert "amount far above the usual" in score.reason


def test_a_customer_who_was_defrauded_before_is_not_simply_released() -> None:
    assert decide_payment(score_payment(pay(customer="victim"), PAST)).decision != "release"


@given(st.floats(0, 1))
def test_what_is_not_clear_is_left_to_a_person(probability: float) -> None:
    decision = decide_payment(FraudScore(probability=probability, reason=""))

    assert (decision.decision == "hold") == (probability >= HOLD_FROM)
    assert (decision.decision == "release") == (probability < RELEASE_BELOW)
    assert (decision.confidence < HOLD_FROM) == (decision.decision == "review")


@given(st.floats(0, 1e9), st.text(min_size=1, max_size=50), st.integers(0, 23))
def test_any_payment_gets_a_probability(amount: float, category: str, hour: int) -> None:
    payment = pay(amount, category).model_copy(update={"paid_at": NOON.replace(hour=hour)})

    assert 0 < score_payment(payment, history()).probability < 1


@pytest.mark.parametrize(
    "change",
    [{"amount": -1}, {"amount": "nan"}, {"amount": 1e10}, {"paid_at": "noon"}, {"customer": ""}],
)
def test_other_data_is_no_payment(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Payment.model_validate({**pay().model_dump(), **change})


def test_on_the_published_payments_decisions_are_mostly_right_and_most_fraud_is_caught() -> None:
    decisions = Counter(
        (event.label, decide_payment(score_payment(payment, history())).decision)
        for event in demo_events()
        if event.type == PAYMENT
        for payment in [Payment.model_validate(event.data)]
    )
    decided = {pair: n for pair, n in decisions.items() if pair[1] != "review"}
    right = sum(n for (label, what), n in decided.items() if judge(label or "", {"decision": what}))
    fraud = sum(n for (label, _), n in decisions.items() if label == "fraud")

    assert right >= 0.95 * sum(decided.values())
    assert decisions["fraud", "hold"] + decisions["fraud", "review"] >= 0.7 * fraud
