"""`make bench`: Caseworks beside the bare loop, on one broker, round by round in one run.

usage: python -m benchmarks.compare [--rounds 5] [--seconds 10] [--window 2000] [--json FILE]

Both systems run all the time, and one of them is under load: the same client, events and number of
partitions, in three processes each. Before anything counts, both work for `--warm-up`
rounds: a cold broker is half as fast. The order changes with every round. The ratio of a round is
that of its two neighbours in time, so that what else the machine does touches both; their median
and spread are what the run says. After that, one worker process alone (`worker.py`). Takes about
seven minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import bare, worker
from benchmarks.load import Client, Headers, Target
from events.local_kafka import LocalKafka

NAMESPACE = "bench"
PARTITIONS = 4
RATIO_WANTED, P50_MS_WANTED, P99_MS_WANTED = 0.6, 25, 80
ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class Measured:
    """One system's figures, a value per round."""

    cases_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    """CPU per case, by process."""


def main() -> None:
    """Run it."""
    options = _options()
    body: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(LocalKafka.start(folder / "kafka"))
        if options.only != "worker":
            body |= _cases(kafka, folder, options)
        if options.only != "cases":
            body |= _worker(kafka.bootstrap, folder, options)
    if options.json is not None:
        options.json.write_text(json.dumps(body, indent=1), encoding="utf-8")


def _cases(kafka: LocalKafka, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Whole cases, beside the same workload through the bare loop."""
    tag = str(int(time.time()))
    with ExitStack() as stack:
        bare_pids = stack.enter_context(_bare(kafka.bootstrap, tag, folder))
        our_pids = stack.enter_context(_ours(kafka.bootstrap, folder, options))
        pids = {"bare": bare_pids, "caseworks": our_pids}
        clients = {
            "bare": Client(kafka.bootstrap, _bare_target(tag), 1),
            "caseworks": Client(kafka.bootstrap, _our_target(), 1),
        }
        found = {name: Measured() for name in clients}
        for number in range(-options.warm_up, options.rounds):
            counts = number >= 0
            for name in sorted(clients, reverse=number % 2 == 1):
                into = found[name] if counts else Measured()
                _round(clients[name], into, options, {**pids[name], "kafka": kafka.pid})
                title = f"round {number + 1}" if counts else "warm-up"
                print(f"{title} {name}: {into.cases_per_s[-1]:.0f} cases/s", flush=True)
    return _report(found)


def _worker(bootstrap: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One worker process, in memory and beside its own bare loop."""
    tag = f"-worker-{int(time.time())}"
    memory, ours, loop = worker.Speed(), worker.Speed(), worker.Speed()
    records = worker.tasks_of(options.tasks, NAMESPACE)
    with ExitStack() as stack:
        pids = stack.enter_context(_ours(bootstrap, folder, options, only=worker.AGENT))
        topics = [f"{name}{tag}" for name in ("tasks", "inbox")]
        _create(bootstrap, topics)
        our_watch = worker.Watcher(
            bootstrap, f"{NAMESPACE}.tasks.{worker.AGENT}", f"{NAMESPACE}.inbox"
        )
        bare_watch = worker.Watcher(bootstrap, *topics)
        our_watch.time(pids["worker0"], records, worker.Speed())
        size = str(our_watch.outcome_bytes())
        command = ["-m", "benchmarks.worker", "bare", bootstrap, tag, size]
        pids |= stack.enter_context(_processes({"bare-worker": command}, {}, folder))
        bare_watch.time(pids["bare-worker"], records, worker.Speed())
        for number in range(options.rounds):
            turns = [(our_watch, "worker0", ours), (bare_watch, "bare-worker", loop)]
            for watch, name, into in sorted(turns, key=lambda t: t[1], reverse=number % 2 == 1):
                watch.time(pids[name], records, into)
                print(f"round {number + 1} {name}: {into.tasks_per_s[-1]:.0f} tasks/s", flush=True)
    for number in range(options.rounds):
        worker.in_memory_apart(options.tasks, memory, folder)
        print(f"round {number + 1} in memory: {memory.tasks_per_s[-1]:.0f} tasks/s", flush=True)
    figures = worker.report(memory, ours, loop)
    speeds = {"in_memory": memory, "worker": ours, "bare_worker": loop}
    return figures | {name: asdict(speed) for name, speed in speeds.items()}


def _round(
    client: Client, into: Measured, options: argparse.Namespace, pids: dict[str, int]
) -> None:
    latencies = client.one_at_a_time_ms(options.sequential)
    into.p50_ms.append(latencies[len(latencies) // 2])
    into.p99_ms.append(latencies[int(len(latencies) * 0.99)])
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    begun = time.perf_counter()
    into.cases_per_s.append(client.cases_per_s(options.window, options.seconds))
    cases = into.cases_per_s[-1] * (time.perf_counter() - begun)
    for name, pid in pids.items():
        spent_ms = 1000 * (_cpu_s(pid) - before[name]) / cases
        into.cpu_ms.setdefault(name, []).append(round(spent_ms, 3))


def _report(found: dict[str, Measured]) -> dict[str, Any]:
    bare_, ours = found["bare"], found["caseworks"]
    ratios = sorted(a / b for a, b in zip(ours.cases_per_s, bare_.cases_per_s, strict=True))
    for name, measured in found.items():
        cpu_ms = {process: median(each) for process, each in measured.cpu_ms.items()}
        print(
            f"\n{name}: {_spread(measured.cases_per_s, '.0f')} cases/s\n"
            f"  one case at a time: p50 {_spread(measured.p50_ms, '.1f')} ms, "
            f"p99 {_spread(measured.p99_ms, '.1f')} ms\n"
            f"  CPU ms per case: {', '.join(f'{n} {ms:.3f}' for n, ms in cpu_ms.items())}, "
            f"sum {sum(cpu_ms.values()):.3f}"
        )
    print(
        f"\nratio to the bare loop: {_spread(ratios, '.2f')} (wanted: {RATIO_WANTED}); "
        f"one case p50 {median(ours.p50_ms):.1f} ms (wanted: {P50_MS_WANTED}), "
        f"p99 {median(ours.p99_ms):.1f} ms (wanted: {P99_MS_WANTED})"
    )
    return {name: asdict(measured) for name, measured in found.items()} | {"ratio": median(ratios)}


def _spread(values: Sequence[float], form: str) -> str:
    """Median, and in parentheses the lowest and the highest."""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


@contextmanager
def _bare(bootstrap: str, tag: str, folder: Path) -> Iterator[dict[str, int]]:
    _create(bootstrap, [f"{name}{tag}" for name in bare.TOPICS])
    roles = ("intake", "orchestrator", "worker")
    commands = {role: ["-m", "benchmarks.bare", role, bootstrap, tag] for role in roles}
    with _processes(commands, {}, folder) as pids:
        yield pids


def _create(bootstrap: str, names: Sequence[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        made.result()


@contextmanager
def _ours(
    bootstrap: str, folder: Path, options: argparse.Namespace, only: str = ""
) -> Iterator[dict[str, int]]:
    """Caseworks; or one worker process of *only* this agent."""
    env = {
        "CASEWORKS_BOOTSTRAP_SERVERS": bootstrap,
        "CASEWORKS_NAMESPACE": NAMESPACE,
        "CASEWORKS_DATA_DIR": str(folder / "data"),
        "CASEWORKS_LOG_LEVEL": "warning",
        **{
            f"CASEWORKS_{kind}_PARTITIONS": str(PARTITIONS)
            for kind in ("INBOX", "EVENTS", "TASKS", "RESULTS")
        },
        "CASEWORKS_IN_FLIGHT_MAX": "4000",
    }
    app = ["--app", "benchmarks.noop:app"]
    made = [sys.executable, "-m", "caseworks", "topics", "create", *app]
    subprocess.run(made, env=os.environ | env, cwd=ROOT, check=True, capture_output=True)
    agents = [only] if only else ["triage", "billing", "kb", "reply"]
    commands = {
        f"coordinator{n}": ["-m", "caseworks", "coordinator", "--instance", str(n), *app]
        for n in range(0 if only else options.coordinators)
    }
    workers = 1 if only else options.workers
    for number in range(workers):
        mine = agents[number::workers]
        names = [word for agent in mine for word in ("--agent", agent)]
        commands[f"worker{number}"] = ["-m", "caseworks", "worker", *names, *app]
    with _processes(commands, env, folder) as pids:
        yield pids


@contextmanager
def _processes(
    commands: dict[str, list[str]], env: dict[str, str], folder: Path
) -> Iterator[dict[str, int]]:
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, argv in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    [sys.executable, *argv], env=os.environ | env, cwd=ROOT, stdout=log, stderr=log
                )
        yield {name: process.pid for name, process in running.items()}
    finally:
        _stop(list(running.values()))


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _bare_target(tag: str) -> Target:
    return Target("bare", f"events{tag}", f"results{tag}", lambda _key: [])


def _our_target() -> Target:
    fixed: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_source", b"/bench"),
        ("ce_type", b"ticket.created"),
        ("content-type", b"application/json"),
    ]
    return Target(
        "caseworks",
        f"{NAMESPACE}.events",
        f"{NAMESPACE}.results.noop",
        lambda key: [*fixed, ("ce_id", key.encode())],
    )


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2, help="rounds before those that count")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--window", type=int, default=2000)
    parser.add_argument("--sequential", type=int, default=200)
    parser.add_argument(
        "--coordinators", type=int, default=2, help="processes that share the inbox"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share the agents")
    parser.add_argument("--only", choices=("cases", "worker"), default=None)
    parser.add_argument("--tasks", type=int, default=60_000, help="of one worker, in each round")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
