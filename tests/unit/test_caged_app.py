"""An app with processes, as a user runs it: on a broker in memory, and in the simulator."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from caseworks import new_event
from caseworks.compose import build
from caseworks.simulation import simulate
from caseworks.testing import play
from events.memory import QUIET, MemoryBroker
from events.settings import Settings
from tests.unit.caged import until
from tests.unit.caged_app import app


@pytest.mark.slow
def test_one_case_dies_in_its_process_and_the_others_are_answered() -> None:
    events = [
        new_event("numbers", {"n": 1000}),
        new_event("numbers", {"n": 1, "then": "die"}),
        new_event("numbers", {"n": 2000}),
    ]

    first, second, third = play(app, events, timeout_s=60.0)

    assert first.output == "499500 by another"
    assert (second.status, third.output) == ("escalated", "1999000 by another")
    assert "crashed" in second.to_json().decode()


@pytest.mark.slow
def test_a_worker_is_ready_when_its_processes_are() -> None:
    system = build(app, Settings(tasks_partitions=2), broker=MemoryBroker())
    system.ensure_topics()
    stop, told = Event(), set[str]()
    thread = Thread(target=system.run_worker, args=(["count"], stop))
    thread.start()
    try:

        def ready() -> bool:
            good, why = system.ready()
            told.add(why)
            return good

        until(ready)
    finally:
        stop.set()
        thread.join()
    assert "the processes of 'count' start" in told


def test_in_the_simulator_it_runs_in_the_simulation() -> None:
    events = [new_event("numbers", {"n": 10}), new_event("numbers", {"n": 20})]

    verdict = simulate(app, events, seed=1, faults=QUIET)

    assert verdict.lost == verdict.doubled == []
    outputs = {each.output for found in verdict.results.values() for each in found}
    assert outputs == {"45 by this", "190 by this"}
