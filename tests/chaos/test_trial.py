"""Figures and their limits: a broken one must be seen."""

from __future__ import annotations

import pytest

from tests.chaos.accountant import Verdict
from tests.chaos.isolation import Measured, figures_of
from tests.chaos.trial import Figure, Showing


@pytest.mark.parametrize(
    ("figure", "kept"),
    [
        (Figure("told only", 7.0), True),
        (Figure("at least", 0.9, least=0.9), True),
        (Figure("too little", 0.89, least=0.9), False),
        (Figure("at most", 2.0, most=2.0), True),
        (Figure("too much", 2.1, most=2.0), False),
        (Figure("exactly", 9.0, least=10.0, most=10.0), False),
    ],
)
def test_a_figure_is_kept_within_its_limits(figure: Figure, kept: bool) -> None:
    assert figure.kept is kept
    assert ("WRONG" in figure.line()) is not kept


def test_a_missed_time_limit_is_told_and_breaks_nothing_by_itself() -> None:
    showing = Showing("t", figures=[Figure("p99", 3.0, "", None, 2.0, is_timing=True)], ended=True)
    assert showing.kept
    assert showing.late == ["p99"]
    assert any("LATE" in line for line in showing.lines())


@pytest.mark.parametrize(
    "showing",
    [
        Showing("given up", ended=False),
        Showing("wrong", ended=True, figures=[Figure("lost", 1.0, "", None, 0.0)]),
        Showing("complained", ended=True, complaints=["a neighbour of a ended"]),
        Showing("unbalanced", ended=True, verdict=Verdict(hung=1)),
    ],
)
def test_whatever_is_broken_breaks_the_trial(showing: Showing) -> None:
    assert not showing.kept
    assert "BROKEN" in next(showing.lines())


def test_neighbours_are_measured_by_the_medians_of_all_rounds() -> None:
    quiet = [Measured(100.0, 50.0), Measured(90.0, 10.0), Measured(110.0, 40.0)]
    hang = [Measured(10.0, 900.0, 3.0), Measured(95.0, 80.0, 9.0), Measured(96.0, 81.0, 2.0)]
    found = {each.name: each for each in figures_of({"quiet": quiet, "hang": hang})}
    assert found["hang: share of the quiet throughput"].value == pytest.approx(0.95)
    late = found["hang: p99, times the quiet one"]
    assert late.value == pytest.approx(2.025)
    assert late.is_timing
    assert not late.kept
    assert found["hang: cases of a ended after at most"].value == 9.0


def test_a_neighbour_that_stands_still_breaks_the_trial() -> None:
    rounds = {"quiet": [Measured(100.0, 50.0)], "die": [Measured(0.0, 50.0)]}
    [share] = [each for each in figures_of(rounds) if "share" in each.name]
    assert not share.kept
    assert not share.is_timing
