"""What it saves: known values, and baselines that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseworks.insight.business import (
    Baseline,
    break_even_cases,
    break_even_month,
    business,
    load_baseline,
    net_present_value,
    payback_months,
    savings,
)
from caseworks.insight.cells import Cell
from events.errors import SetupError

MONTH = 365.25 / 12


def baseline(**more: Any) -> Baseline:
    fields = {"default": {"minutes_by_hand": 12}, "hourly_cost_usd": 40, "review_minutes": 6}
    return Baseline.model_validate({**fields, **more})


def cell(completed: int = 0, failed: int = 0, **more: Any) -> Cell:
    status = {"completed": completed, "failed": failed}
    return Cell(n=completed + failed, status=status, **more)


def test_labour_is_what_the_answered_cases_take_by_hand_less_the_decisions() -> None:
    found = savings({"ticket": cell(100, 20, decisions=10)}, baseline(), 30)
    assert found.answered == 100
    assert found.labour_usd == pytest.approx(100 * 12 / 60 * 40)
    assert found.hours_saved == pytest.approx(100 * 12 / 60 - 10 * 6 / 60)
    assert found.costs.people_usd == pytest.approx(40)


def test_a_workflow_may_differ_from_the_default() -> None:
    other = baseline(workflows={"fraud": {"minutes_by_hand": 60, "revenue_usd": 3}})
    found = savings({"ticket": cell(1), "fraud": cell(2)}, other, 30)
    assert found.labour_usd == pytest.approx((12 + 2 * 60) / 60 * 40)
    assert found.revenue_usd == 6


def test_cost_has_its_classes_and_the_months_that_passed() -> None:
    stated = baseline(infrastructure_usd_per_month=120, people_usd_per_month=300)
    found = savings({"ticket": cell(1, micro_usd=2_500_000)}, stated, MONTH / 2)
    costs = found.costs
    assert (costs.model_usd, costs.infrastructure_usd, costs.people_usd) == pytest.approx(
        (2.5, 60, 150)
    )
    assert found.net_benefit_usd == pytest.approx(8 - 212.5)
    assert found.net_usd_per_month == pytest.approx(2 * (8 - 212.5))


def test_the_net_present_value_of_an_annuity() -> None:
    assert net_present_value(1000, 100, 0.0, 12) == pytest.approx(200)
    # 100 a month at 10 % a year: i = 1.1^(1/12) - 1 = 0.0079741, (1 - 1/1.1) / i = 11.4005
    assert net_present_value(1000, 100, 0.1, 12) == pytest.approx(140.05, abs=0.01)


@pytest.mark.parametrize(
    ("investment", "monthly", "months"),
    [(300, 100, 3.0), (0, -5, 0.0), (300, 0, None), (300, -1, None)],
)
def test_payback_is_investment_over_what_a_month_brings(
    investment: float, monthly: float, months: float | None
) -> None:
    assert payback_months(investment, monthly) == months


@pytest.mark.parametrize(
    ("rate", "month"), [(0.0, 3), (0.5, 4)], ids=["undiscounted", "discounted"]
)
def test_break_even_is_the_first_month_that_is_not_under_water(rate: float, month: int) -> None:
    assert break_even_month(300, 100, rate, 36) == month
    assert break_even_month(300, 1, rate, 36) is None
    assert break_even_month(0, -1, rate, 36) == 0


def test_break_even_in_cases_spreads_the_fixed_cost_over_what_each_brings() -> None:
    stated = baseline(infrastructure_usd_per_month=500, investment_usd=3600, horizon_months=36)
    found = savings({"ticket": cell(100, micro_usd=200_000_000)}, stated, 30)
    # each brings 8 - 2 = 6 dollars; 500 + 3600 / 36 = 600 a month
    assert break_even_cases(found, stated) == pytest.approx(100)


def test_a_case_that_costs_more_than_it_brings_never_breaks_even() -> None:
    found = savings({"ticket": cell(1, micro_usd=9_000_000)}, baseline(), 30)
    assert break_even_cases(found, baseline()) is None
    assert break_even_cases(savings({}, baseline(), 30), baseline()) is None


def test_nothing_counted_yet_is_no_division_by_zero() -> None:
    found = business({}, baseline(investment_usd=10), 0)
    assert found["net_benefit_usd"] == 0
    assert found["payback_months"] is None
    assert found["cumulated_usd"][0] == -10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("default: {minutes_by_hand: 5}", "hourly_cost_usd: Field required"),
        ("default: {minutes_by_hand: -1}\nhourly_cost_usd: 1", "default.minutes_by_hand"),
        ("default: {minutes_by_hand: .nan}\nhourly_cost_usd: 1", "default.minutes_by_hand"),
        ("default: {minutes_by_hand: 1}\nhourly_cost_usd: 1\nhourly: 2", "hourly: Extra inputs"),
        ("- 1", "the file"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused_by_its_field(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "baseline.yaml"
    path.write_text(text)
    with pytest.raises(SetupError, match=says.replace(".", r"\.")):
        load_baseline(path)


def test_a_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nowhere\.yaml cannot be read"):
        load_baseline(tmp_path / "nowhere.yaml")
