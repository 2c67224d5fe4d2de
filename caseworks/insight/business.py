"""What it saves, against a baseline that somebody states: labour, cost, return.

Pure functions, and the reader of the baseline's file. Money is US dollars as floats: these are
estimates. A month is a twelfth of a year, a rate is yearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from caseworks.insight.cells import Cell
from events.errors import SetupError

DAYS_PER_MONTH = 365.25 / 12
DAYS_MIN = 1 / 24
"""A rate needs some time: after less than an hour a month would be guessed from minutes."""


class Work(BaseModel):
    """What one case of a workflow takes without Caseworks, and what it brings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    minutes_by_hand: float = Field(ge=0, le=100_000)
    revenue_usd: float = Field(default=0.0, ge=0, le=1e9)
    """Attributed to each case with a good answer."""


class Baseline(BaseModel):
    """The stated baseline. Every number is somebody's claim: the report repeats them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    default: Work
    workflows: dict[str, Work] = Field(default_factory=dict)
    """Where a workflow differs from the default."""
    hourly_cost_usd: float = Field(gt=0, le=100_000)
    """Of the people who would do it."""
    review_minutes: float = Field(default=5.0, ge=0, le=100_000)
    """Of a person, for each decision on an approval."""
    infrastructure_usd_per_month: float = Field(default=0.0, ge=0, le=1e9)
    people_usd_per_month: float = Field(default=0.0, ge=0, le=1e9)
    """Who looks after it."""
    investment_usd: float = Field(default=0.0, ge=0, le=1e12)
    discount_rate: float = Field(default=0.08, ge=0, le=10)
    horizon_months: int = Field(default=36, ge=1, le=600)


def load_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises `SetupError` that names the field."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Baseline.model_validate(found)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SetupError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SetupError(f"{path}: {place}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class Costs:
    """What it cost, by class."""

    model_usd: float
    infrastructure_usd: float
    people_usd: float
    """Who looks after it, and who decided."""

    @property
    def total_usd(self) -> float:
        """All of them."""
        return self.model_usd + self.infrastructure_usd + self.people_usd


@dataclass(frozen=True, slots=True)
class Savings:
    """What it brought over some days."""

    days: float
    cases: int
    answered: int
    """Cases with a good answer: nobody had to do them."""
    hours_saved: float
    """By hand, less what people took for decisions."""
    labour_usd: float
    revenue_usd: float
    costs: Costs

    @property
    def net_benefit_usd(self) -> float:
        """Labour saved and revenue, less all cost."""
        return self.labour_usd + self.revenue_usd - self.costs.total_usd

    @property
    def net_usd_per_month(self) -> float:
        """The same, as if every month were like these days."""
        return self.net_benefit_usd / self.days * DAYS_PER_MONTH


def savings(by_workflow: dict[str, Cell], baseline: Baseline, days: float) -> Savings:
    """What these cases brought in so many days."""
    days = max(days, DAYS_MIN)
    minutes = revenue = model = 0.0
    cases = answered = decisions = 0
    for name, cell in by_workflow.items():
        work = baseline.workflows.get(name, baseline.default)
        good = cell.status.get("completed", 0) + cell.status.get("degraded", 0)
        minutes += good * work.minutes_by_hand
        revenue += good * work.revenue_usd
        model += float(cell.usd)
        cases, answered, decisions = cases + cell.n, answered + good, decisions + cell.decisions
    review_hours = decisions * baseline.review_minutes / 60
    months = days / DAYS_PER_MONTH
    return Savings(
        days=days,
        cases=cases,
        answered=answered,
        hours_saved=minutes / 60 - review_hours,
        labour_usd=minutes / 60 * baseline.hourly_cost_usd,
        revenue_usd=revenue,
        costs=Costs(
            model_usd=model,
            infrastructure_usd=baseline.infrastructure_usd_per_month * months,
            people_usd=baseline.people_usd_per_month * months
            + review_hours * baseline.hourly_cost_usd,
        ),
    )


def payback_months(investment: float, net_per_month: float) -> float | None:
    """After how many months the investment is earned back, undiscounted; `None`: never."""
    if investment == 0:
        return 0.0
    return investment / net_per_month if net_per_month > 0 else None


def net_present_value(investment: float, net_per_month: float, rate: float, months: int) -> float:
    """Minus the investment, plus what each month brings at its end, discounted by a yearly rate."""
    return -investment + sum(discounted(net_per_month, rate, each) for each in _months(months))


def discounted(value: float, rate: float, month: int) -> float:
    """What money at the end of a month is worth today."""
    return value / float((1 + rate) ** (month / 12))


def break_even_month(
    investment: float, net_per_month: float, rate: float, months: int
) -> int | None:
    """The first month after which the discounted sum is not negative; `None`: not in these."""
    if investment == 0:
        return 0
    total = -investment
    for month in _months(months):
        total += discounted(net_per_month, rate, month)
        if total >= 0:
            return month
    return None


def break_even_cases(found: Savings, baseline: Baseline) -> float | None:
    """Cases a month at which nothing is lost, the investment spread over the horizon.

    `None` when each case costs more than it brings, so that more of them do not help.
    """
    if found.cases == 0:
        return None
    review = (found.labour_usd / baseline.hourly_cost_usd - found.hours_saved) * (
        baseline.hourly_cost_usd
    )
    brings = found.labour_usd + found.revenue_usd - found.costs.model_usd - review
    fixed = (
        baseline.infrastructure_usd_per_month
        + baseline.people_usd_per_month
        + baseline.investment_usd / baseline.horizon_months
    )
    return fixed / (brings / found.cases) if brings > 0 else None


def cumulated(baseline: Baseline, net_per_month: float) -> list[float]:
    """The discounted sum after each month of the horizon, from minus the investment on."""
    sums = [-baseline.investment_usd]
    for month in _months(baseline.horizon_months):
        sums.append(sums[-1] + discounted(net_per_month, baseline.discount_rate, month))
    return sums


def _months(count: int) -> range:
    return range(1, count + 1)


def business(by_workflow: dict[str, Cell], baseline: Baseline, days: float) -> dict[str, Any]:
    """Everything above, of what these cells hold of so many days, as JSON."""
    found = savings(by_workflow, baseline, days)
    monthly = found.net_usd_per_month
    investment, rate = baseline.investment_usd, baseline.discount_rate
    horizon = baseline.horizon_months
    return {
        "baseline": baseline.model_dump(),
        "days": _cents(found.days),
        "cases": found.cases,
        "answered": found.answered,
        "hours_saved": _cents(found.hours_saved),
        "labour_usd": _cents(found.labour_usd),
        "revenue_usd": _cents(found.revenue_usd),
        "costs": {
            "model_usd": _cents(found.costs.model_usd),
            "infrastructure_usd": _cents(found.costs.infrastructure_usd),
            "people_usd": _cents(found.costs.people_usd),
            "total_usd": _cents(found.costs.total_usd),
        },
        "net_benefit_usd": _cents(found.net_benefit_usd),
        "net_usd_per_month": _cents(monthly),
        "payback_months": _cents(payback_months(investment, monthly)),
        "net_present_value_usd": _cents(net_present_value(investment, monthly, rate, horizon)),
        "break_even_month": break_even_month(investment, monthly, rate, horizon),
        "break_even_cases_per_month": _cents(break_even_cases(found, baseline)),
        "cumulated_usd": [_cents(each) for each in cumulated(baseline, monthly)],
    }


def _cents(value: float | None) -> float | None:
    return round(value, 2) if value is not None and isfinite(value) else None
