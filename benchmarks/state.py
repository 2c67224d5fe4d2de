"""What a coordinator's state costs as it grows: `python -m benchmarks.state`.

Each figure comes from a process of its own. Commands go through `Orchestrator.plan` and `promote`,
as in production, without a broker: what is measured is CPU time per command, resident memory per
open case, the time from the start of a process to its first command, and memory per closed case.

A case takes five commands: it is opened, and each of its four steps is done. Whatever their number,
as many of the open cases stand before each of these, so that the commands of every run are the same
mix. Which case a command is for, is said by the load:

- `working`: a case goes on at once but for one long rest, so that one command in five is for a case
  that nobody has touched for long. So it is where people or retries are waited for.
- `random`: any open case, the worst for whatever is cached. While all fit into a cache there are
  hits, and later there are none.
- `uncached`: the same with no decoded case ever kept: no hits, whatever the number.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.open_cases import (
    DAY_S,
    DONE,
    LIFE,
    NOW,
    PLAN,
    cases,
    event_of,
    opened_of,
    outcome_of,
)
from coordinator.closed import ClosedCases
from coordinator.orchestrator import Orchestrator
from coordinator.world import OrchestratorLimits
from events.broker import Message, TopicPartition
from events.partitioner import partition_of
from events.sqlite_store import SqliteStores
from events.topics import Topics
from schemas.commands import Command
from schemas.lean_case import Position

PARTITIONS = 8
BATCH = 200
SECOND = 5
"""Turns."""
AWAKE = 250
"""How many cases the load `working` has at work, a quarter of the smallest number open: as many in
every run, so that a store writes as many changed cases a second."""


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
        self.ids: list[str] = []
        """Of four in five there is an open case; the fifth is yet to be opened."""
        self.stages = bytearray()
        """How many steps of each are done; of all, where there is none."""
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
            self.ids.append(case_id)
            self.stages.append(stage)
            if len(batches[home]) == 5000:
                self._restore(home, batches[home])
                batches[home] = []
        for home, batch in enumerate(batches):
            self._restore(home, batch)
        self.ids += [""] * (n // 4)
        self.stages += bytes([DONE]) * (n // 4)
        self.number = n

    def cache_nothing(self) -> None:
        """Keep no decoded cases from now on."""
        for state in self.it.states.values():
            state.recent_max = 0

    def command(self, at: int) -> Command:
        """The next one in the life of a case; where it has ended, another is opened."""
        stage = self.stages[at]
        if stage == DONE:
            self.number += 1
            opened = opened_of(self.number, self.now)
            self.ids[at], self.stages[at] = opened.case_id, 0
            return opened
        self.stages[at] = stage + 1
        return outcome_of(self.ids[at], LIFE[stage], self.now)

    def turn(self, commands: Sequence[Command]) -> float:
        """One turn of these commands; the CPU seconds it took."""
        messages = [self._message(command) for command in commands]
        self.now += 1 / SECOND
        ready = dict(zip(self.sources, self.taken, strict=True))
        begun = time.process_time()
        turn = self.it.plan(messages, ready, self.now)
        assert turn is not None
        ends = {
            TopicPartition("cw.cases", each.partition): self._end(each.partition)
            for each in turn.positions
        }
        self.it.promote(turn, ends)
        return time.process_time() - begun

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


class Random:
    """Which case is next: any."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.rng = random.Random(7)

    def batch(self) -> list[Command]:
        """The commands of a turn."""
        return [self.desk.command(self.any()) for _ in range(BATCH)]

    def any(self) -> int:
        """Any case."""
        return self.rng.randrange(len(self.desk.ids))


class Working(Random):
    """Which case is next: one of those that are at work, each of which rests once in its life."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.awake = [self.any() for _ in range(AWAKE)]
        self.rests: dict[int, int] = {}
        """At which stage a case that was opened here is put to rest."""

    def batch(self) -> list[Command]:
        """The commands of a turn."""
        return [self._next(self.rng.randrange(len(self.awake))) for _ in range(BATCH)]

    def _next(self, slot: int) -> Command:
        at, stages = self.awake[slot], self.desk.stages
        if stages[at] == self.rests.get(at):
            del self.rests[at]
            at = self.awake[slot] = self.any()
        if stages[at] == DONE:
            self.rests[at] = self.rng.randrange(DONE)
        return self.desk.command(at)


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
    found = {
        "open": n,
        "working_us": per_command_us(desk, Working(desk), turns),
        "random_us": per_command_us(desk, Random(desk), turns),
    }
    desk.cache_nothing()
    found["uncached_us"] = per_command_us(desk, Random(desk), turns)
    desk.it.close()
    return found | {
        "bytes_per_open_case": round(held / n),
        "restore_s": round(filled_s, 1),
        "disk_bytes_per_open_case": sum(f.stat().st_size for f in folder.glob("*")) // n,
    }


def per_command_us(desk: Desk, load: Random, turns: int) -> float:
    """CPU microseconds a command, of the quarter of all seconds that went undisturbed.

    A second of the benchmark's time is five turns, and in each a store writes once.
    """
    for _ in range(max(3, turns // 5)):
        desk.turn(load.batch())
    seconds = sorted(
        sum(desk.turn(load.batch()) for _ in range(SECOND)) for _ in range(max(1, turns // SECOND))
    )
    return round(seconds[len(seconds) // 4] / SECOND / BATCH * 1e6, 1)


def restart(folder: Path) -> dict[str, float]:
    """From the start of a process to its first command, with the store that `run` left."""
    desk = Desk("disk", folder)
    desk.adopt(end=1)
    found = sum(state.open_count for state in desk.it.states.values())
    desk.turn([opened_of(10**8 + i, NOW) for i in range(BATCH)])
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
    ids = sum(map(sys.getsizeof, desk.ids))
    return sys.getsizeof(desk.ids) + sys.getsizeof(desk.stages) + ids


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
        for load in ("working", "random", "uncached"):
            grown = rows[-1][f"{load}_us"] / rows[0][f"{load}_us"] - 1
            print(f"{store:>7}: {load}: {100 * grown:+.0f} % with {rows[-1]['open']} open")
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
