"""`ctx.effect` on real Kafka: workers that are killed behind a refund, and what the bank saw."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import pytest

from caseworks.client import Publisher, delivered, new_event
from caseworks.compose import System, build
from caseworks.loading import load_app
from caseworks.scan import Follower
from events.kafka import KafkaBroker
from events.settings import Settings
from schemas.result import Result

LIMIT_S = 60.0
POLL_S = 0.1
APP = "tests.kafka.effects_app:app"
ROOT = Path(__file__).parents[2]


class Worker:
    """One worker process, started again whenever it dies."""

    def __init__(self, bootstrap: str, settings: Settings, folder: Path) -> None:
        self.deaths = 0
        self._command = [sys.executable, "-m", "caseworks", "worker", "--app", APP]
        self._env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "EFFECTS_FOLDER": str(folder),
            "CASEWORKS_DATA_DIR": str(folder / "data"),
            "CASEWORKS_BOOTSTRAP_SERVERS": bootstrap,
            "CASEWORKS_NAMESPACE": settings.namespace,
            "CASEWORKS_LOG_LEVEL": "error",
        }
        self._process = self._start()

    def look(self) -> None:
        """Start it again if it is dead."""
        if self._process.poll() is not None:
            self.deaths += 1
            self._process = self._start()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def running(bootstrap: str, folder: Path) -> Iterator[tuple[System, Worker]]:
    """A coordinator on threads, a worker as a process that may be killed."""
    settings = Settings(
        namespace=f"fx-{uuid4().hex[:8]}",
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=2,
        results_partitions=1,
        state_store="memory",
    )
    system = build(load_app(APP), settings, broker=KafkaBroker(bootstrap, client_id="test"))
    system.ensure_topics()
    stop = Flag()
    coordinator = Thread(target=system.run_coordinator, args=(stop,))
    coordinator.start()
    try:
        with closing(Worker(bootstrap, settings, folder)) as worker:
            yield system, worker
    finally:
        stop.set()
        coordinator.join()


def answered(system: System, workflow: str, count: int, look: Callable[[], None]) -> list[Result]:
    """That many results; meanwhile somebody looks after the worker."""
    found: dict[str, Result] = {}
    topics, until = [system.settings.topics.results(workflow)], time.monotonic() + LIMIT_S
    with closing(Follower(system.broker, topics, namespace=system.settings.namespace)) as follower:
        while len(found) < count and time.monotonic() < until:
            look()
            for message in follower.take(POLL_S):
                result = delivered(message).result
                found[result.case_id] = result
    return list(found.values())


def play(system: System, worker: Worker, workflow: str, *deaths: str) -> list[Result]:
    """One refund after the other, each with its own way to die."""
    for number, dies in enumerate(deaths):
        with closing(Publisher(system.broker, system.settings)) as publisher:
            publisher.send(
                new_event(f"{workflow}.wanted", {"id": f"{workflow}-{number}", "dies": dies})
            )
            publisher.flush()
        results = answered(system, workflow, number + 1, worker.look)
        assert len(results) == number + 1, f"no result after {dies or 'nothing'}"
    return results


def bank(folder: Path) -> Counter[str]:
    """How often each refund was paid."""
    return Counter((folder / "paid").read_text("utf-8").split())


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["after the call", "after its result"])
def test_a_refund_is_paid_once_whenever_its_worker_is_killed(
    kafka_bootstrap: str, tmp_path: Path, dies: str
) -> None:
    with running(kafka_bootstrap, tmp_path) as (system, worker):
        results = play(system, worker, "refund", "", dies)

    assert [result.reason for result in results if result.status != "completed"] == []
    outputs = sorted(str(result.output) for result in results)
    assert outputs == ["refunded refund-0", "refunded refund-1"]
    assert worker.deaths == 1
    assert sorted(bank(tmp_path).values()) == [1, 1]


@pytest.mark.slow
def test_without_the_ledger_it_is_paid_twice(kafka_bootstrap: str, tmp_path: Path) -> None:
    with running(kafka_bootstrap, tmp_path) as (system, worker):
        results = play(system, worker, "bare", "", "after the call")

    assert [result.reason for result in results if result.status != "completed"] == []
    assert worker.deaths == 1
    assert sorted(bank(tmp_path).values()) == [1, 2]
