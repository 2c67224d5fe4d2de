"""Whoever is not asked again would answer as before: the roster against asking everybody."""

from __future__ import annotations

from typing import Any

import pytest

from events.sim_driver import SimDriver
from tests.sim import counting, working


def differences(driver: SimDriver, **bounds: Any) -> list[str]:
    """Who can go and is not known to, or the other way round, at any change of the cluster."""
    found: list[str] = []
    compared = []

    def compare() -> bool:
        roster = driver.roster
        roster.look(driver.now)
        known = {roster.runners[at].label for at in roster.able}
        asked = {each.label for each in roster.runners if each.due() <= driver.now}
        found.extend(f"{driver.steps}: {label}" for label in sorted(known ^ asked))
        compared.append(known)
        return False

    driver.run(compare, **bounds)
    assert len({frozenset(each) for each in compared}) > 3, "nothing changed: nothing was compared"
    return found


@pytest.mark.parametrize("seed", range(6))
def test_who_can_go_is_known_without_asking_everybody(seed: int) -> None:
    with counting.system(seed, tracing=False) as loops, working.system(seed) as agents:
        assert differences(loops, steps_max=600) == []
        assert differences(agents, steps_max=600) == []


@pytest.mark.parametrize("seed", range(4))
def test_it_is_known_too_when_a_process_is_killed_between_two_runs(seed: int) -> None:
    with working.system(seed) as driver:
        differences(driver, steps_max=100)
        driver.kill("w0")

        assert differences(driver, steps_max=300) == []
