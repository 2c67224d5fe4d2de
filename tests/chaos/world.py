"""One system under test: Kafka, a proxy where asked for, processes, load; gone at the end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import confluent_kafka as ck

from caseworks.supervisor import Program
from events.local_kafka.cluster import LocalCluster, Node, nodes_on_free_ports
from tests.chaos.audit import partitions_of
from tests.chaos.crew import ROOT, Cast, Crew, LateError
from tests.chaos.load import Load, Pace, Places
from tests.chaos.proxy import Proxy
from tests.chaos.silence import Mark
from tests.chaos.workload import Workload

NAMESPACE = "chaos"
PARTITIONS = {"INBOX": 6, "EVENTS": 3, "TASKS": 2, "RESULTS": 2}
READY_TIMEOUT_S = 60.0
RECOVERY_TIMEOUT_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Setup:
    """What stands before the first fault.

    Args:
        coordinators: How many.
        workers: Processes that share the agents out.
        copies: Of each of them.
        nodes: Of Kafka; three hold three copies of everything.
        behind: Which roles or names reach Kafka through the proxy only.
        mutant: A guard that coordinators lack, to see the check fail.
        env: More settings of all processes.
        own: The same, of one by its name.
    """

    coordinators: int = 2
    workers: int = 2
    copies: int = 1
    nodes: int = 1
    behind: tuple[str, ...] = ()
    mutant: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What a fault may touch."""

    cluster: LocalCluster
    proxy: Proxy | None
    crew: Crew
    cast: Cast
    load: Load
    chance: random.Random
    marks: list[Mark] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)
    takeovers_s: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    deadline: float = float("inf")

    def mark(self, fault: str, victim: str) -> None:
        """A fault begins now."""
        self.marks.append(Mark(time.monotonic(), fault, victim))

    def killed(self, role: str) -> None:
        """Count a kill -9."""
        self.kills[role] = self.kills.get(role, 0) + 1

    def wait(self, seconds: float) -> None:
        """Let the system run. Raises `LateError` when the scenario's time is up."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if now > self.deadline:
                raise LateError("the scenario's time is up")
            if self.load.error is not None:
                raise self.load.error
            time.sleep(min(POLL_S, until - now))

    def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        """Let it run until it is so. Raises `LateError`."""
        until = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > until:
                waiting = self.load.seen.in_flight
                raise LateError(f"waited {timeout_s:.0f} s in vain, {waiting} cases open")
            self.wait(POLL_S)

    def recover(self, timeout_s: float = RECOVERY_TIMEOUT_S) -> None:
        """Until it works again; the next fault is another story."""
        if self.wait_answered(timeout_s) is None:
            label = self.marks[-1].fault if self.marks else "the start"
            self.complaints.append(f"no recovery from {label} within {timeout_s:.0f} s")

    def wait_answered(self, timeout_s: float) -> float | None:
        """Until all that is published by now is answered; seconds, or `None` when it is not."""
        begun, seen = time.monotonic(), self.load.seen
        due = [event_id for event_id in list(seen.sent) if event_id not in seen.answered]
        while due and time.monotonic() - begun < timeout_s:
            self.wait(POLL_S)
            due = [event_id for event_id in due if event_id not in seen.answered]
        return None if due else time.monotonic() - begun


@contextmanager
def world(
    setup: Setup, workload: Workload, pace: Pace, seed: int, keep: Path | None = None
) -> Iterator[World]:
    """Everything started and ready; everything gone afterwards, its folder too."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(TemporaryDirectory(prefix="caseworks-chaos-")))
        proxy, nodes = _network(setup)
        if proxy is not None:
            stack.enter_context(proxy)
        cluster = stack.enter_context(LocalCluster.start(folder / "kafka", nodes))
        cast = Cast(
            workload,
            _env(cluster, folder, setup),
            folder,
            setup.workers,
            setup.mutant,
        )
        _make_topics(cast)
        places = Places(
            events=f"{NAMESPACE}.events",
            results=tuple(f"{NAMESPACE}.results.{name}" for name in workload.workflows),
            events_partitions=PARTITIONS["EVENTS"],
            inbox_partitions=PARTITIONS["INBOX"],
        )
        crew = Crew()
        stack.callback(crew.close)
        crew.add(*_programs(setup, cast, cluster))
        crew.wait_ready(READY_TIMEOUT_S)
        load = Load(cluster.bootstrap, workload, places, pace)
        load.start(_partitions(cluster.bootstrap, places.results))
        stack.callback(load.stop)
        yield World(cluster, proxy, crew, cast, load, random.Random(seed))


def _network(setup: Setup) -> tuple[Proxy | None, tuple[Node, ...]]:
    """The nodes, and a proxy before each where somebody is to stay behind it."""
    if not setup.behind:
        return None, nodes_on_free_ports(setup.nodes)
    spare = nodes_on_free_ports(2 * setup.nodes)  # their second halves lend their ports
    nodes, lent = spare[: setup.nodes], spare[setup.nodes :]
    behind = [(each.port, each.controller_port) for each in lent]
    made = [replace(node, behind=pair) for node, pair in zip(nodes, behind, strict=True)]
    return Proxy((told, listened) for listened, told in behind), tuple(made)


def _env(cluster: LocalCluster, folder: Path, setup: Setup) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "CASEWORKS_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CASEWORKS_NAMESPACE": NAMESPACE,
        "CASEWORKS_DATA_DIR": str(folder / "data"),
        "CASEWORKS_LOG_LEVEL": "warning",
        "CASEWORKS_HTTP_PORT": "0",
        "CASEWORKS_REPLICATION_FACTOR": str(min(3, setup.nodes)),
        "CASEWORKS_IN_FLIGHT_MAX": "1000",
        "CASEWORKS_STARTS_MAX": "10",  # they are killed from outside, again and again
        **{f"CASEWORKS_{kind}_PARTITIONS": str(count) for kind, count in PARTITIONS.items()},
        **setup.env,
    }


def _make_topics(cast: Cast) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "caseworks", "topics", "create", "--app", cast.workload.target],
        env={**os.environ, **cast.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=READY_TIMEOUT_S,
        check=False,
    )
    if made.returncode != 0:
        raise LateError(f"no topics: {made.stderr.strip()}")


def _programs(setup: Setup, cast: Cast, cluster: LocalCluster) -> list[Program]:
    behind = {"CASEWORKS_BOOTSTRAP_SERVERS": cluster.bootstrap_behind}
    made = [cast.coordinator(str(number)) for number in range(setup.coordinators)]
    made += [
        cast.worker(number, str(copy))
        for number in range(setup.workers)
        for copy in range(setup.copies)
    ]
    for at, program in enumerate(made):
        own = setup.own.get(program.name, {})
        if {program.name, program.role} & set(setup.behind):
            own = {**own, **behind}
        made[at] = replace(program, env={**program.env, **own})
    return made


def _partitions(bootstrap: str, topics: Sequence[str]) -> list[ck.TopicPartition]:
    counts = partitions_of(bootstrap)
    return [ck.TopicPartition(name, each, 0) for name in topics for each in range(counts[name])]
