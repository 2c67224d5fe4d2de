"""What cannot be committed is set aside once, and nothing else becomes of it."""

from __future__ import annotations

import pytest

from caseworks.check.runs import broken
from caseworks.simulation import Scenario, Verdict, simulate
from events.memory import Faults
from tests.sim.mixed_app import app, demo_events

ABORTS = 3
EVENT = next(iter(demo_events()))


def run(seed: int) -> Verdict:
    """The first three commits, all of one event, are refused."""
    faults = Faults(abort_commit=1.0, fired_max=ABORTS)
    scenario = Scenario(faults=faults, coordinators=1)
    return simulate(app, (EVENT,), seed, scenario=scenario)


@pytest.mark.parametrize("seed", range(4))
def test_an_event_that_cannot_be_committed_is_refused_and_not_taken_in_as_well(seed: int) -> None:
    verdict = run(seed)

    assert len(verdict.run.fired) == ABORTS
    assert broken(verdict) == []
    assert verdict.refused == {EVENT.id: 1}
    assert verdict.results == {}
