"""Cells add up in any order; what is read from them is as close as it says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseworks.insight.cells import Cell, bucket_of, decode, encode, merged, middle_of
from caseworks.insight.drift import Drift, drift, kolmogorov, ks_distance, psi
from tests.unit.insight_world import closed, step

FACTS = st.builds(
    closed,
    status=st.sampled_from(["completed", "failed", "escalated", "degraded"]),
    ms=st.integers(0, 10**8),
    confidence=st.none() | st.floats(0, 1),
    degraded=st.booleans(),
    usage=st.builds(lambda usd: {"usd": usd}, st.decimals(0, 10, places=6)),
)


@given(st.lists(FACTS, max_size=12), st.integers(0, 12))
def test_parts_merge_into_the_whole(facts: list[object], cut: int) -> None:
    whole, first, rest = Cell(), Cell(), Cell()
    for fact in facts:
        whole.add(fact)  # type: ignore[arg-type]
    for fact in facts[:cut]:
        first.add(fact)  # type: ignore[arg-type]
    for fact in facts[cut:]:
        rest.add(fact)  # type: ignore[arg-type]
    assert merged([first, rest]) == merged([rest, first]) == whole


@given(FACTS)
def test_a_cell_comes_back_from_its_bytes(fact: object) -> None:
    cell = Cell(position=3)
    cell.add(fact)  # type: ignore[arg-type]
    assert decode(encode(cell)) == cell


@given(st.integers(2, 10**10))
def test_a_time_is_within_five_percent_of_its_bucket(ms: int) -> None:
    assert middle_of(bucket_of(ms)) == pytest.approx(ms, rel=0.05)


def test_quantiles_are_those_of_the_times_within_five_percent() -> None:
    cell = Cell()
    for ms in range(1, 1001):
        cell.add(closed(ms=ms))
    assert cell.quantile(0.5) == pytest.approx(500, rel=0.05)
    assert cell.quantile(0.99) == pytest.approx(990, rel=0.05)
    assert Cell().quantile(0.5) is None


def test_rates_are_parts_of_the_cases_and_nothing_is_no_rate() -> None:
    cell = Cell()
    for status in ("completed", "completed", "degraded", "escalated", "failed"):
        cell.add(closed(status=status, confidence=0.5))
    assert (cell.success, cell.errors, cell.share("escalated")) == (0.6, 0.2, 0.2)
    assert cell.mean_confidence == 0.5
    assert Cell().success is None
    assert Cell().override_rate is None


def test_guard_hits_count_once_a_case_and_each_hit() -> None:
    cell = Cell()
    cell.add(closed(guards={"pii": 2}, steps=(step(guards={"injection": 1}),)))
    cell.add(closed())
    assert (cell.guarded, cell.guards) == (1, 3)


def test_money_adds_up_to_the_millionth() -> None:
    cell = Cell()
    for _ in range(1000):
        cell.add(closed(usage={"usd": "0.000123"}))
    assert cell.usd == Decimal("0.123")


@pytest.mark.parametrize(
    ("value", "chance"), [(0.1, 1.0), (1.36, 0.0495), (1.63, 0.0098), (1.95, 0.0010)]
)
def test_the_kolmogorov_distribution_has_its_tabled_values(value: float, chance: float) -> None:
    assert kolmogorov(value) == pytest.approx(chance, abs=0.0002)


def test_the_distance_is_the_largest_between_the_cumulated_shares() -> None:
    assert ks_distance({0: 5, 10: 5}, {0: 5, 10: 5}) == 0
    assert ks_distance({0: 10}, {19: 10}) == 1
    assert ks_distance({0: 6, 10: 4}, {0: 50, 10: 50}) == pytest.approx(0.1)


def test_the_stability_index_is_its_sum_over_the_bins() -> None:
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5) = 0.04055
    big = 10**8
    assert psi({0: 6 * big, 1: 4 * big}, {0: 5 * big, 1: 5 * big}) == pytest.approx(
        0.04055, abs=1e-4
    )


def test_a_shift_of_confidence_is_drift_and_chance_is_none() -> None:
    baseline = dict.fromkeys(range(10, 20), 100)
    moved = drift(dict.fromkeys(range(4, 14), 30), baseline, 200)
    same = drift({at: 30 + at % 3 for at in range(10, 20)}, baseline, 200)
    assert moved is not None
    assert moved.drifted
    assert same is not None
    assert not same.drifted


def test_a_shift_that_is_certain_but_small_is_no_drift() -> None:
    big = dict.fromkeys(range(20), 100_000)
    found = drift({**big, 0: 110_000}, big, 200)
    assert found is not None
    assert found.p < 0.001
    assert not found.drifted


def test_too_few_samples_say_nothing_about_drift() -> None:
    assert drift({0: 199}, {19: 1000}, 200) is None
    assert isinstance(drift({0: 200}, {19: 1000}, 200), Drift)
