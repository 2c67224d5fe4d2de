"""The whole helpdesk under faults: every event ends in exactly one answer, for every seed."""

from __future__ import annotations

from itertools import islice

import pytest

from caseworks.simulation import Verdict, simulate
from events.memory import QUIET
from examples.helpdesk import app
from examples.helpdesk.demo import demo_events
from schemas.base import instant
from schemas.event import Event

EVENTS = [
    Event(
        id=given.id,
        source=given.source,
        type=given.type,
        subject=given.subject,
        time=instant(1_700_000_000.0),
        data=given.data,
    )
    for given in islice(demo_events(), 0, 50, 10)
]
SEEDS = range(12)


def run(seed: int, *, quiet: bool = False) -> Verdict:
    return simulate(app, EVENTS, seed, faults=QUIET) if quiet else simulate(app, EVENTS, seed)


def test_on_a_quiet_cluster_every_event_ends_in_one_result() -> None:
    verdict = run(0, quiet=True)

    assert verdict.run.outcome == "done", verdict.run
    assert (verdict.lost, verdict.doubled) == ([], [])


@pytest.mark.parametrize("seed", SEEDS)
def test_i1_every_event_ends_in_one_result_whatever_is_killed(seed: int) -> None:
    verdict = run(seed)

    assert verdict.run.outcome == "done", verdict.run
    assert (verdict.lost, verdict.doubled) == ([], []), verdict.run


@pytest.mark.parametrize("seed", range(20, 26))
def test_i2_an_input_offset_is_committed_together_with_everything_it_caused(seed: int) -> None:
    verdict = run(seed)

    assert any(committed is not None for committed, _ in verdict.positions)
    assert all(committed == recorded for committed, recorded in verdict.positions)


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run(3).trace == run(3).trace
