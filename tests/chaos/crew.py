"""The processes under test, each kept running by a supervisor of its own.

A supervisor is what `caseworks up` runs them under; one each lets a single one be taken away for
good, stopped in order, or started later.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from caseworks.supervisor import Change, Program, RestartPolicy, Supervisor
from tests.chaos.workload import Workload

ROOT = Path(__file__).parents[2]
TURN_S = 0.01
STOP_TIMEOUT_S = 15.0
AS_USUAL = RestartPolicy()
POLL_S = 0.02


class LateError(Exception):
    """Something that was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Cast:
    """How to start a process of a role.

    Args:
        workload: The app.
        env: The settings of all of them.
        folder: For their logs.
        workers: Among how many processes the agents are shared out.
        mutant: Which guard coordinators lack; see `tests.chaos.mutant`.
    """

    workload: Workload
    env: Mapping[str, str]
    folder: Path
    workers: int = 2
    mutant: str = ""

    def coordinator(self, instance: str, *, as_name: str = "", mutant: str = "") -> Program:
        """A coordinator of this instance; *as_name* tells it from another one of that instance."""
        name = as_name or f"coordinator-{instance}"
        mutant = mutant or self.mutant
        module = ("tests.chaos.mutant", mutant) if mutant else ("caseworks",)
        return self._program("coordinator", name, ("--instance", instance), module)

    def worker(self, number: int, instance: str = "0") -> Program:
        """The worker of the agents whose turn *number* is."""
        mine = self.workload.agents[number :: self.workers]
        words = [word for agent in mine for word in ("--agent", agent)]
        name = f"worker-{number}-{instance}"
        return self._program("worker", name, (*words, "--instance", instance))

    def _program(
        self, role: str, name: str, more: tuple[str, ...], module: tuple[str, ...] = ("caseworks",)
    ) -> Program:
        target = ("--app", self.workload.target)
        return Program(
            name=name,
            role=role,
            argv=(sys.executable, "-m", *module, role, *more, *target),
            env=self.env,
            log=self.folder / f"{name}.log",
            standby=role == "coordinator",  # as under `caseworks up`
        )


@dataclass(slots=True)
class Member:
    """A process that is kept running under its name."""

    program: Program
    supervisor: Supervisor
    ready_at: float | None = None
    """When the present process said that it is ready."""
    expected: int = 0
    """Deaths that we caused and that were not seen yet."""
    hit_at: float | None = None
    """When it was killed or told to end, until it is back."""


@dataclass(slots=True)
class Deaths:
    """Of processes that nobody had killed or stopped, by name; and exits for a taken name."""

    crashes: list[str] = field(default_factory=list)
    duplicates: int = 0


class Crew:
    """Everybody. A thread of its own keeps them running; methods may be called from any thread."""

    def __init__(self) -> None:
        self.deaths = Deaths()
        self.returns_s: dict[str, list[float]] = {}
        """By role: from a kill or a SIGTERM until the next process of that name was ready."""
        self._members: dict[str, Member] = {}
        self._lock = RLock()
        self._stop = Event()
        self._thread = Thread(target=self._keep, name="crew", daemon=True)
        self._thread.start()

    def add(self, *programs: Program, policy: RestartPolicy = AS_USUAL) -> None:
        """Start them and keep them running."""
        for program in programs:
            with self._lock:
                supervisor = Supervisor([program], listener=self._changed, policy=policy)
                self._members[program.name] = Member(program, supervisor)
                supervisor.start()

    def names(self, role: str, *, older_s: float = -1.0) -> list[str]:
        """Who is of this role and, where asked for, has been ready for so long."""
        now = time.monotonic()

        def old(member: Member) -> bool:
            return older_s < 0 or (member.ready_at is not None and now - member.ready_at >= older_s)

        with self._lock:
            return [
                name
                for name, member in self._members.items()
                if member.program.role == role and old(member)
            ]

    def pid(self, name: str) -> int | None:
        """The process id of one that lives."""
        with self._lock:
            return self._members[name].supervisor.pids.get(name)

    def wait_ready(self, timeout_s: float, names: Iterable[str] | None = None) -> None:
        """Block until these (default: all) are ready."""
        wanted = None if names is None else set(names)

        def ready() -> bool:
            with self._lock:
                return all(
                    member.ready_at is not None
                    for name, member in self._members.items()
                    if wanted is None or name in wanted
                )

        self.until(ready, timeout_s, "processes are not ready")

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a living process; returns its id, or raises `LateError`."""
        with self._lock:
            member = self._members[name]
            pid = member.supervisor.pids.get(name)
            if pid is None:
                raise LateError(f"{name} does not run")
            if number in (signal.SIGKILL, signal.SIGTERM):
                member.expected += 1
                member.ready_at = None
                member.hit_at = member.hit_at or time.monotonic()
            os.kill(pid, number)
            return pid

    def dismiss(self, name: str, *, kill: bool = False) -> None:
        """End it for good: in order, or by kill -9. Blocks until it is gone."""
        with self._lock:
            member = self._members.pop(name)
        if kill:
            pids = member.supervisor.pids
            if name in pids:
                os.kill(pids[name], signal.SIGKILL)
        member.supervisor.stop(STOP_TIMEOUT_S)

    def close(self) -> None:
        """End everybody, all at once."""
        with self._lock:
            members, self._members = list(self._members.values()), {}
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)
        for member in members:
            for pid in member.supervisor.pids.values():
                os.kill(pid, signal.SIGCONT)  # a stopped one could not end
        with ThreadPoolExecutor(max(1, len(members))) as pool:
            list(pool.map(lambda member: member.supervisor.stop(STOP_TIMEOUT_S), members))

    def wait_gone(self, name: str, timeout_s: float) -> None:
        """Until it has died by itself; then it is dismissed before it is back."""
        with self._lock:
            self._members[name].expected += 1
            pid = self.pid(name)
        self.until(lambda: self.pid(name) != pid, timeout_s, f"{name} does not die")
        self.dismiss(name, kill=True)

    def until(self, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Poll until it is so. Raises `LateError` saying what is not."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > deadline:
                raise LateError(f"{what} after {timeout_s:.0f} s")
            self._stop.wait(POLL_S)

    def _keep(self) -> None:
        while not self._stop.wait(TURN_S):
            with self._lock:
                for member in list(self._members.values()):
                    member.supervisor.turn(0.0)

    def _changed(self, change: Change) -> None:
        member = self._members.get(change.program.name)
        if member is None:
            return
        if change.kind == "ready":
            member.ready_at = time.monotonic()
            if member.hit_at is not None:
                took = member.ready_at - member.hit_at
                self.returns_s.setdefault(change.program.role, []).append(took)
                member.hit_at = None
        elif change.kind == "died":
            member.ready_at = None
            if change.ended == 75:
                self.deaths.duplicates += 1
            elif member.expected:
                member.expected -= 1
            else:
                self.deaths.crashes.append(f"{change.program.name}: {change.ended}")
