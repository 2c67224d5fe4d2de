"""The simulator finds what it should, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from events import loop as op
from events.broker import ConsumerSpec, Record, TopicPartition
from events.dispatch import Handles
from events.errors import FatalBrokerError
from events.memory import HARSH, KINDS, Faults
from events.sim_actors import Incarnation, Program
from events.sim_driver import SimDriver
from events.topics import TopicSpec
from tests.sim import counting, working
from tests.sim.counting import Broken

OUT = TopicPartition("out", 0)


def verdict(seed: int, broken: Broken = "nothing", **options: Any) -> str:
    with counting.system(seed, broken, tracing=False, **options) as driver:
        return counting.verdict(driver)[0]


@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, 80, 20)], ids=str)
def test_a_system_that_keeps_the_rules_is_right_whatever_happens(seeds: range) -> None:
    wrong = [seed for seed in seeds if verdict(seed) != "right"]

    assert wrong == []


@pytest.mark.parametrize(
    ("broken", "seeds"),
    [
        ("no offsets", 40),
        ("offsets first", 40),
        ("promote before commit", 60),
        ("give a time-out up", 60),
        ("epoch by ownership", 60),
        ("restore to the stable offset", 300),
        pytest.param("stale messages", 600, marks=pytest.mark.slow),
    ],
)
def test_each_broken_rule_is_found_within_so_many_seeds(broken: Broken, seeds: int) -> None:
    assert any(verdict(seed, broken) != "right" for seed in range(seeds))


def test_without_faults_no_rule_matters_but_the_runs_differ() -> None:
    quiet = Faults()
    traces = []
    for seed in range(3):
        with counting.system(seed, faults=quiet) as driver:
            assert counting.verdict(driver)[0] == "right"
            traces.append("\n".join(driver.trace))

    assert len(set(traces)) == 3


@pytest.mark.parametrize("toy", ["counting", "working"])
def test_the_same_seed_writes_the_same_trace_in_any_process(toy: str) -> None:
    script = (
        f"from tests.sim.{toy} import system\n"
        "with system(11) as driver:\n"
        "    print(driver.run(steps_max=1500))\n"
        "    print('\\n'.join(driver.trace))\n"
    )
    root = Path(__file__).parents[2]
    traces = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert len(traces[0]) > 10_000
    assert traces[0] == traces[1]


def test_a_run_without_a_trace_is_the_same_run() -> None:
    with counting.system(5) as told, counting.system(5, tracing=False) as silent:
        assert told.run(steps_max=800) == silent.run(steps_max=800)
        assert told.trace
        assert silent.trace == []


def test_every_fault_happens_in_some_run() -> None:
    seen: set[str] = set()
    for seed in range(40):
        with counting.system(seed, tracing=False) as driver:
            seen |= {fired.kind for fired in driver.run(steps_max=400).fired}
        with working.system(seed) as worker:
            seen |= {fired.kind for fired in worker.run(steps_max=400).fired}
    weather = {"late_marker", "short_take", "split_take", "patient_take", "slow_delivery"}

    # The app's simulation has those of agents.
    of_agents = {"agent_fails", "agent_kills", "agent_lingers", "agent_sticks"}
    assert seen == set(KINDS) - weather - of_agents


def test_faults_end_when_their_number_is_reached() -> None:
    few = Faults(kill=0.5, fired_max=3)
    with counting.system(1, faults=few) as driver:
        assert len(driver.run(steps_max=2000).fired) == 3


# --- workers and their agents


def test_a_worker_that_commits_after_the_outcome_loses_nothing() -> None:
    for seed in range(25):
        with working.system(seed) as driver:
            run = working.finish(driver)
            assert run.outcome == "done", run


def test_a_worker_that_commits_first_is_found_within_ten_seeds() -> None:
    outcomes = []
    for seed in range(10):
        with working.system(seed, hasty=True) as driver:
            run = working.finish(driver)
            outcomes.append(run.outcome)

    assert "stuck" in outcomes


def test_a_loop_that_asks_for_it_is_told_before_its_partitions_go() -> None:
    with working.system(0, faults=Faults(rebalance=0.05)) as driver:
        driver.run(steps_max=600)

    assert any("revoking" in line for line in driver.trace)


# --- lives


def alone(loop: op.Loop, life: Incarnation) -> list[Program]:
    consumer = life.broker.consumer(ConsumerSpec("g", ("in",)))
    return [Program(loop, Handles(life.broker, life.clock, consumer, transactional_id="t"))]


def driver_with_topics(**options: Any) -> SimDriver:
    driver = SimDriver(1, **options)
    driver.broker.admin().create([TopicSpec(name, "", 1, "") for name in ("in", "out")])
    return driver


def test_a_killed_process_cannot_act_in_its_finally() -> None:
    tried: list[str] = []

    def boot(life: Incarnation) -> list[Program]:
        producer = life.broker.producer()

        def loop() -> op.Loop:
            yield op.Init()
            yield op.Begin()
            yield op.Produce([Record("out", b"k", b"v")])
            try:
                while True:
                    yield op.Take(1, 0.05)
            finally:
                try:
                    producer.produce(Record("out", b"k", b"from beyond"))
                except FatalBrokerError as error:
                    tried.append(str(error))
                yield op.Commit()

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        driver.run(steps_max=30)
        driver.kill("p")

        newest = driver.broker.log(OUT).newest
        assert tried == ["p.0 was killed and cannot act any more"]
        assert newest is not None
        assert newest.value == b"v"
        assert driver.broker.log(OUT).read(0, 10).messages == []


def test_a_process_that_ends_with_a_brokers_error_is_restarted_under_its_name() -> None:
    def boot(life: Incarnation) -> list[Program]:
        def loop() -> op.Loop:
            yield op.Now()
            if life.number < 2:
                raise FatalBrokerError
            while True:
                yield op.Take(1, 1.0)

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        run = driver.run(steps_max=100)

    assert run.exits == 2
    assert [line for line in driver.trace if line.endswith("begins")][-1].endswith("p.2 begins")


def test_a_bug_in_a_loop_ends_the_run_and_is_its_finding() -> None:
    def boot(life: Incarnation) -> list[Program]:
        def loop() -> op.Loop:
            yield op.Now()
            raise KeyError("bug")

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        run = driver.run()

    assert run.outcome == "crashed"
    assert isinstance(run.error, KeyError)


def test_a_loop_that_returns_leaves_its_group_and_is_not_restarted() -> None:
    def boot(life: Incarnation) -> list[Program]:
        def loop() -> op.Loop:
            yield op.Take(1, 0.05)

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        run = driver.run()

        assert run.outcome == "stuck"
        assert driver.broker.admin().members("g") == 0


def test_loops_of_one_process_die_together() -> None:
    dropped: list[str] = []

    def boot(life: Incarnation) -> list[Program]:
        def loop(name: str) -> Generator[op.Operation, Any, None]:
            try:
                while True:
                    yield op.Take(1, 1.0)
            finally:
                dropped.append(name)

        return [program for name in ("a", "b") for program in alone(loop(name), life)]

    with driver_with_topics() as driver:
        driver.add("p", boot)
        driver.run(steps_max=10)
        driver.kill("p")

        assert dropped == ["a", "b"]


def test_time_jumps_over_waiting_and_stops_at_what_will_happen() -> None:
    woken: list[float] = []

    def boot(life: Incarnation) -> list[Program]:
        def loop() -> op.Loop:
            while True:
                yield op.Take(1, 0.05)

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        driver.after(3600.0, "alarm", lambda: woken.append(driver.now))
        run = driver.run(lambda: bool(woken), seconds_max=3601, quiet_max_s=4000)

    assert woken[0] == pytest.approx(driver.start_s + 3600, abs=0.01)
    assert run.steps < 15_000


def test_who_can_go_when_the_time_is_up_still_goes() -> None:
    looked: list[float] = []

    def boot(life: Incarnation) -> list[Program]:
        def loop() -> op.Loop:
            while True:
                yield op.Take(1, 10.0)
                looked.append(driver.now - driver.start_s)

        return alone(loop(), life)

    with driver_with_topics() as driver:
        driver.add("p", boot)
        run = driver.run(seconds_max=5.0)

    assert run.outcome == "time"
    assert looked[1:] == [pytest.approx(10.0, abs=0.1)]  # the first brings its partitions


@pytest.mark.parametrize("seed", range(20))
def test_what_is_on_its_way_arrives_before_a_run_is_called_stuck(seed: int) -> None:
    with SimDriver(seed, faults=Faults(slow_delivery=1.0)) as driver:
        driver.broker.admin().create([TopicSpec("out", "", 1, "")])
        for _ in range(3):
            driver.broker.producer().produce(Record("out", b"k", b"v"))
        driver.after(1.0, "something else", lambda: None)
        run = driver.run(lambda: driver.broker.log(OUT).end == 3)

    assert run.outcome == "done"


def test_the_process_that_must_not_die_does_not() -> None:
    with counting.system(2, faults=Faults(kill=0.5, fired_max=1000)) as driver:
        driver.add("client", counting.boot("nothing", "client"), mortal=False)
        run = driver.run(steps_max=300)

    assert run.fired
    assert not any("client" in fired.where for fired in run.fired)


def test_harsh_faults_can_be_drawn_to_differ_between_runs() -> None:
    from random import Random

    drawn = {HARSH.drawn(Random(seed)) for seed in range(20)}

    assert len(drawn) == 20
