"""What a coordinator's state costs as it grows: `python -m benchmarks.state`.

Each figure comes from a process of its own. Commands go through `Orchestrator.plan` and `promote`,
as in production, without a broker: what is measured is CPU time per command, resident memory per
open case, the time from the start of a process to its first command, and memory per closed case.
Open cases are in three stages of the four-step workflow, and every command is for a random one:
the worst case for whatever is cached.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workload import event, said
from coordinator.case import apply
from coordinator.case_record import encode_case
from coordinator.closed import ClosedCases
from coordinator.orchestrator import Orchestrator
from coordinator.workflow import compile_workflow
from coordinator.world import OrchestratorLimits
from events.broker import Message, TopicPartition
from events.partitioner import partition_of
from events.sqlite_store import SqliteStores
from events.topics import Topics
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.commands import Command, Opened
from schemas.event import Event
from schemas.lean_case import Position
from schemas.outcome import Outcome
from schemas.task import task_id_of
from schemas.workflow import StepSpec, WorkflowSpec

PARTITIONS = 8
BATCH = 200
NOW = 1_700_000_000.0
DAY_S = 86_400.0
LIFE = ("triage", "billing", "kb", "reply")
STEPS = (
    StepSpec(name="triage", agent="triage"),
    StepSpec(name="billing", agent="billing", after=("triage",)),
    StepSpec(name="kb", agent="kb", after=("triage",)),
    StepSpec(name="reply", agent="reply", after=("billing", "kb")),
)
PLAN = compile_workflow(
    WorkflowSpec(name="ticket", on=("ticket.created",), steps=STEPS),
    {name: AgentSpec(name=name) for name in LIFE},
)


class Desk:
    """An orchestrator without a broker, and the cases that are open in it."""

    def __init__(self, store: str, folder: Path) -> None:
        options: dict[str, Any] = {}
        if store == "disk":
            options["store_of"] = SqliteStores(folder, "benchmark")
        self.it = Orchestrator(
            Topics("cw"),
            [PLAN],
            partitions=PARTITIONS,
            writer_id="w",
            limits=OrchestratorLimits(),
            **options,
        )
        self.sources = [TopicPartition("cw.inbox", p) for p in range(PARTITIONS)]
        self.taken = [0] * PARTITIONS
        self.logged = [0] * PARTITIONS
        self.now = NOW
        self.open: list[str] = []
        self.stage: dict[str, int] = {}
        self.number = 0

    def adopt(self, end: int = 0) -> None:
        """Own every partition, and begin with what its store has."""
        for source in self.sources:
            adopted = self.it.adopt(source, max(end, 1 << 40 if end else 0), self.now)
            self.logged[source.partition] = adopted.offset
            self.it.restored(source, None)
            self.taken[source.partition] = self.it.states[source.partition].position or 0

    def fill(self, n: int) -> None:
        """Restore `n` open cases from a changelog."""
        batches: list[list[Message]] = [[] for _ in range(PARTITIONS)]
        for case_id, stage, value in cases(n):
            home = partition_of(case_id.encode(), PARTITIONS)
            batches[home].append(self._logged(home, case_id.encode(), value))
            self.open.append(case_id)
            self.stage[case_id] = stage
            if len(batches[home]) == 5000:
                self._restore(home, batches[home])
                batches[home] = []
        for home, batch in enumerate(batches):
            self._restore(home, batch)
        self.number = n

    def turn(self, rng: random.Random, fresh: list[Command]) -> tuple[int, float]:
        """One turn of commands for random open cases; how many, and the CPU seconds they took."""
        for _ in range(BATCH - len(fresh)):
            case_id = self.open[rng.randrange(len(self.open))]
            fresh.append(self._outcome(case_id))
        messages = [self._message(command) for command in fresh]
        self.now += BATCH / 1000
        ready = dict(zip(self.sources, self.taken, strict=True))
        begun = time.process_time()
        turn = self.it.plan(messages, ready, self.now)
        assert turn is not None
        ends = {
            TopicPartition("cw.cases", each.partition): self._end(each.partition)
            for each in turn.positions
        }
        self.it.promote(turn, ends)
        return len(messages), time.process_time() - begun

    def outlived(self) -> list[Command]:
        """As many new cases as have ended."""
        found: list[Command] = []
        ended = [at for at, case_id in enumerate(self.open) if self.stage[case_id] >= len(LIFE)]
        for at in ended:
            del self.stage[self.open[at]]
            self.number += 1
            opened = opened_of(self.number, self.now)
            self.open[at] = opened.case_id
            self.stage[opened.case_id] = 0
            found.append(opened)
        return found

    def _outcome(self, case_id: str) -> Command:
        stage = self.stage[case_id]
        self.stage[case_id] = stage + 1
        return outcome_of(case_id, LIFE[min(stage, 3)], self.now)

    def _message(self, command: Command) -> Message:
        home = partition_of(command.case_id.encode(), PARTITIONS)
        self.taken[home] += 1
        headers = (("ce_type", command.ce_type.encode()),)
        where = ("cw.inbox", home, self.taken[home] - 1, 0)
        return Message(*where, command.case_id.encode(), command.to_json(), headers)

    def _logged(self, home: int, key: bytes, value: bytes) -> Message:
        return Message("cw.cases", home, self._end(home), 0, key, value, ())

    def _end(self, home: int) -> int:
        self.logged[home] += 1
        return self.logged[home]

    def _restore(self, home: int, batch: list[Message]) -> None:
        batch.append(self._logged(home, b"\0pos", Position(inbox=0).to_json()))
        self.it.restore(self.sources[home], batch, self.logged[home])


def cases(n: int) -> Iterator[tuple[str, int, bytes]]:
    """Case ids, stages and changelog values of open cases with deadlines spread over a day."""
    first = opened_of(0, NOW)
    case, _ = apply(None, first, NOW, PLAN)
    templates = []
    for stage in range(3):
        data = encode_case(case)
        assert data is not None
        templates.append(data)
        case, _ = apply(case, outcome_of(first.case_id, LIFE[stage], NOW), NOW, PLAN)
    old_id, old_event = first.case_id.encode(), first.event.id.encode()
    old_deadline = b'"deadline":%.1f' % (NOW + DAY_S)
    for number in range(n):
        business = event_of(number, NOW)
        deadline = b'"deadline":%.1f' % (NOW + 3600 + number * (DAY_S - 3600) / n)
        value = templates[number % 3].replace(old_id, business.case_id.encode())
        value = value.replace(old_event, business.id.encode()).replace(old_deadline, deadline)
        yield business.case_id, number % 3, value


def event_of(number: int, now: float) -> Event:
    """Business event *number*."""
    data = event(number)
    return Event(id=data["id"], source="/b", type="ticket.created", time=instant(now), data=data)


def opened_of(number: int, now: float) -> Opened:
    """The command that opens its case."""
    business = event_of(number, now)
    return Opened(
        case_id=business.case_id,
        workflow="ticket",
        workflow_version=PLAN.spec.version,
        event=business,
        accepted_at=instant(now),
    )


def outcome_of(case_id: str, step: str, now: float) -> Outcome:
    """What the agent of a step says."""
    return Outcome(
        task_id=task_id_of(case_id, step),
        case_id=case_id,
        agent=step,
        attempt=1,
        status="done",
        output=said(step, case_id),
        started_at=instant(now),
        finished_at=instant(now),
    )


# --- what is measured, each in a process of its own


def run(store: str, folder: Path, n: int, turns: int) -> dict[str, float]:
    """Memory per open case, and CPU per command with so many open."""
    before = rss()
    desk = Desk(store, folder)
    desk.adopt()
    begun = time.process_time()
    desk.fill(n)
    filled_s = time.process_time() - begun
    held = rss() - before - sizes(desk)
    rng = random.Random(7)
    fresh: list[Command] = []
    for _ in range(max(3, turns // 10)):
        desk.turn(rng, fresh)
        fresh = desk.outlived()[:BATCH]
    commands, spent_s = 0, 0.0
    for _ in range(turns):
        done, cpu_s = desk.turn(rng, fresh)
        commands, spent_s = commands + done, spent_s + cpu_s
        fresh = desk.outlived()[:BATCH]
    desk.it.close()
    return {
        "open": n,
        "us_per_command": round(spent_s / commands * 1e6, 1),
        "bytes_per_open_case": round(held / n),
        "restore_s": round(filled_s, 1),
        "disk_bytes_per_open_case": sum(f.stat().st_size for f in folder.glob("*")) // n,
    }


def restart(folder: Path) -> dict[str, float]:
    """From the start of a process to its first command, with the store that `run` left."""
    desk = Desk("disk", folder)
    desk.adopt(end=1)
    found = sum(state.open_count for state in desk.it.states.values())
    desk.number = 10**8
    desk.turn(random.Random(1), [opened_of(10**8 + i, NOW) for i in range(BATCH)])
    first = time.time() - psutil.Process().create_time()
    return {"found": found, "restart_s": round(first, 1), "rss_mb": round(rss() / 1e6)}


def closed(n: int) -> dict[str, float]:
    """Memory of closed cases, of one partition, over a day."""
    ids = [event_of(number, NOW).case_id for number in range(1000)]
    before = rss()
    remembered = ClosedCases()
    for number in range(n):
        case_id = f"{number:08x}{ids[number % 1000][8:28]}{number * 2654435761 % 2**32:08x}"
        remembered.add(case_id, NOW + number * DAY_S / n)
    assert len(remembered) == n
    begun = time.process_time()
    for case_id in ids:
        assert case_id not in remembered
    lookup_s = time.process_time() - begun
    return {
        "closed": n,
        "mb": round((rss() - before) / 1e6, 1),
        "lookup_us": round(lookup_s * 1e3, 2),
    }


def rss() -> int:
    """Resident memory in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def sizes(desk: Desk) -> int:
    """What the benchmark itself holds of the cases."""
    ids = sum(map(sys.getsizeof, desk.open))
    return sys.getsizeof(desk.open) + sys.getsizeof(desk.stage) + ids


# --- the command line


def main() -> None:
    """Measure, print a table, and write JSON."""
    options = _options()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # as in production
    if options.part:
        print(json.dumps(_part(options)))
        return
    found: dict[str, Any] = {"closed": _child("closed", n=options.closed)}
    for store in ("memory", "disk"):
        with tempfile.TemporaryDirectory() as folder:
            rows = []
            for n in options.open:
                into = f"{folder}/{n}"
                rows.append(_child("run", n=n, store=store, folder=into, turns=options.turns))
                if store == "disk":
                    rows[-1] |= _child("restart", folder=into)
            found[store] = rows
    _report(found)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _part(options: argparse.Namespace) -> dict[str, float]:
    match options.part:
        case "run":
            return run(options.store, options.folder, options.n, options.turns)
        case "restart":
            return restart(options.folder)
        case _:
            return closed(options.n)


def _child(part: str, **options: object) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.state", "--part", part]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    root = Path(__file__).parents[1]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=root)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _report(found: dict[str, Any]) -> None:
    for store in ("memory", "disk"):
        rows = found[store]
        for row in rows:
            print(f"{store:>7}: {', '.join(f'{name} {value}' for name, value in row.items())}")
        grown = rows[-1]["us_per_command"] / rows[0]["us_per_command"] - 1
        print(f"{store:>7}: a command costs {100 * grown:+.0f} % with {rows[-1]['open']} open")
    print(f" closed: {found['closed']}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--open", type=int, nargs="+", default=[1000, 1_000_000])
    parser.add_argument("--closed", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=200, help=f"of {BATCH} commands")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--part", choices=("run", "restart", "closed"), help=argparse.SUPPRESS)
    parser.add_argument("--store", choices=("memory", "disk"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
