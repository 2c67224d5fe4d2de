"""Starts programs as child processes, starts them again when they die, and leaves none behind.

One thread calls it: `start`, then `turn` over and over (or `run`), then `stop`. Each child has a
process group of its own, so that Ctrl-C reaches the supervisor alone, which then drains the
children in order; and a lifeline, so that they die with the supervisor however it dies.

Where a program wants it, a standby waits beside its child with everything loaded and goes on as the
child when that dies: what is left of a start is to connect.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Event
from typing import Literal, NamedTuple

from caseworks.lifeline import GO, LINE_BYTES_MAX, STANDBY, VARIABLE, Hello
from events.errors import DuplicateNameError, SetupError

TURN_S = 0.1
REAP_S = 0.005
"""How often a child is looked at whose lifeline has ended: it is about to be dead."""
TOLD_BY_EXIT_CODE = frozenset((2, 3))
"""A declaration or the surroundings are wrong: starting again does not help."""


@dataclass(frozen=True, slots=True)
class Program:
    """A child to keep running. `log` takes its stderr; without, it writes to ours.

    With `standby`, another process of it waits loaded; its memory comes on top.
    """

    name: str
    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    standby: bool = False


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long a dead child waits. The first time it does not, then ever longer, up to a bound."""

    backoff_s: float = 0.5
    backoff_s_max: float = 30.0
    duplicate_s: float = 5.0
    """At least so long when another process lives under its name: that one's session must end."""
    stable_s: float = 5.0
    """A child that lived so long has no past."""
    again_nice: int = 5
    """Priority of one that died more than once in a row: it must not be started again and again at
    the cost of its siblings, who run at that priority (`caseworks.process`)."""
    standby_s: float = 1.0
    """A standby starts so long after its child was ready: there is work to catch up with first."""

    def delay_s(self, deaths: int, exit_code: int) -> float:
        """The wait after this many deaths in a row (at least one)."""
        if exit_code == DuplicateNameError.exit_code:
            return min(self.duplicate_s * 2.0 ** (deaths - 1), max(self.backoff_s_max, 60.0))
        return min(self.backoff_s * 2.0 ** (deaths - 2), self.backoff_s_max) if deaths > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a child. `ended` is its exit code, negative for a signal's number."""

    kind: Literal["started", "ready", "died"]
    program: Program
    pid: int
    port: int = 0
    ended: int = 0
    again_in_s: float = 0.0


Listener = Callable[[Change], None]


class _Begun(NamedTuple):
    """A process, and our end of its lifeline."""

    process: subprocess.Popen[bytes]
    link: socket.socket

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.link.close()


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    link: socket.socket | None = None
    heard: bytes = b""
    ready: bool = False
    was_ready: bool = False
    """At least once, under any process id."""
    port: int = 0
    started: float = 0.0
    deaths: int = 0
    """In a row, without a stable life between them."""
    ended: int = 0
    due: float = 0.0
    standby: _Begun | None = None
    standby_due: float = inf


class Supervisor:
    """Keeps programs running. Owned by one thread.

    Args:
        programs: What to run; names are unique.
        listener: Told of every change, on the thread that calls `turn`.
        policy: How long a dead child waits.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        listener: Listener = lambda _change: None,
        policy: RestartPolicy = RestartPolicy(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = {program.name: _Child(program) for program in programs}
        self._listener = listener
        self._policy = policy
        self._clock = clock
        self._selector = selectors.DefaultSelector()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the living by program name."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.process.poll() is None
        }

    @property
    def standbys(self) -> dict[str, int]:
        """Process ids of those that wait to take over, by program name."""
        children = self._children.items()
        return {name: child.standby.process.pid for name, child in children if child.standby}

    @property
    def ports(self) -> dict[str, int]:
        """Where each child that is ready serves its health and metrics."""
        return {name: child.port for name, child in self._children.items() if child.ready}

    @property
    def ready(self) -> bool:
        """Whether every child is ready now."""
        return all(child.ready for child in self._children.values())

    def start(self) -> None:
        """Start every program; does not wait. Raises `SetupError` if one cannot be started."""
        for child in self._children.values():
            self._spawn(child)

    def turn(self, timeout_s: float = TURN_S) -> None:
        """Hear what children say, reap the dead, start those whose wait is over."""
        if any(child.process and not child.link for child in self._children.values()):
            timeout_s = min(timeout_s, REAP_S)
        if self._selector.get_map():
            for key, _ in self._selector.select(timeout_s):
                self._hear(key.data)
        else:
            time.sleep(timeout_s)
        for child in self._children.values():
            if child.process is not None and (ended := child.process.poll()) is not None:
                self._died(child, ended)
            if child.process is None and self._clock() >= child.due:
                self._spawn(child)
            elif child.program.standby:
                self._keep_standby(child)

    def wait_ready(self, timeout_s: float, stop: Event | None = None) -> None:
        """Turn until all are ready, or *stop* is set. Raises `SetupError` naming who is not.

        A child that says by its exit code that it cannot run ends the wait: it has said why.
        """
        deadline = self._clock() + timeout_s
        while not self.ready and not (stop is not None and stop.is_set()):
            self.turn()
            for child in self._children.values():
                if not child.was_ready and child.ended in TOLD_BY_EXIT_CODE:
                    raise SetupError(f"{child.program.name} cannot run ({ended_by(child.ended)})")
            if self._clock() > deadline:
                late = ", ".join(n for n, child in self._children.items() if not child.ready)
                raise SetupError(
                    f"not ready within {timeout_s:.0f} s: {late}", hint="caseworks doctor"
                )

    def run(self, stop: Event) -> None:
        """Turn until *stop* is set."""
        while not stop.is_set():
            self.turn()

    def kill(self, name: str) -> int:
        """Kill -9 a child, as a fault would; `turn` finds it dead. Returns its process id."""
        process = self._children[name].process
        if process is None or process.poll() is not None:
            raise SetupError(f"{name} does not run")
        process.kill()
        return process.pid

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM to all, kill -9 for who is still there after *timeout_s*; blocks until gone."""
        living = [c.process for c in self._children.values() if c.process is not None]
        for process in living:
            process.terminate()
        for child in self._children.values():
            if child.standby is not None:
                child.standby.end()
                child.standby = None
        deadline = self._clock() + timeout_s
        for process in living:
            try:
                process.wait(max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self._children.values():
            self._unlink(child)
            child.process = None
        self._selector.close()

    def _spawn(self, child: _Child) -> None:
        """Let the standby go on as the child, or start one."""
        begun, child.standby, child.standby_due = child.standby, None, inf
        if begun is not None:
            try:
                begun.link.sendall(GO)
            except OSError:  # it is dead
                begun.end()
                begun = None
        child.process, child.link = begun or self._begin(child.program)
        if child.deaths > 1:
            self._give_way(child.process.pid)
        child.link.settimeout(0.0)
        child.heard, child.ready = b"", False
        child.started = self._clock()
        self._selector.register(child.link, selectors.EVENT_READ, child)
        self._listener(Change("started", child.program, child.process.pid))

    def _give_way(self, pid: int) -> None:
        """Of a process that has just begun: its threads to come will have the same priority."""
        with suppress(OSError):  # it has ended
            nice = max(os.getpriority(os.PRIO_PROCESS, 0), self._policy.again_nice)
            os.setpriority(os.PRIO_PROCESS, pid, nice)

    def _keep_standby(self, child: _Child) -> None:
        standby, now = child.standby, self._clock()
        if standby is not None and standby.process.poll() is not None:
            standby.end()
            child.standby, child.standby_due = None, now + self._policy.backoff_s_max
        elif standby is None and child.ready and now >= child.standby_due:
            child.standby = self._begin(child.program, {STANDBY: "1"})

    def _begin(self, program: Program, more: Mapping[str, str] | None = None) -> _Begun:
        env = {**os.environ, **program.env, **(more or {})}
        with ExitStack() as ours:
            mine, theirs = socket.socketpair()
            ours.enter_context(theirs)
            errors = ours.enter_context(program.log.open("ab")) if program.log else None
            try:
                process = subprocess.Popen(
                    program.argv,
                    env={**env, VARIABLE: str(theirs.fileno())},
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    process_group=0,
                )
            except OSError as error:
                mine.close()
                raise SetupError(f"cannot start {program.name}: {error}") from None
        return _Begun(process, mine)

    def _hear(self, child: _Child) -> None:
        assert child.link is not None
        try:
            said = child.link.recv(LINE_BYTES_MAX)
        except OSError:
            said = b""
        if not said:  # it is dead or about to be; `poll` says so
            self._selector.unregister(child.link)
            child.link.close()
            child.link = None
            return
        child.heard = (child.heard + said)[-LINE_BYTES_MAX:]
        line, ended, rest = child.heard.partition(b"\n")
        if ended and child.process is not None:
            child.heard = rest
            with suppress(ValueError):
                child.port = Hello.read(line).port
            child.ready = child.was_ready = True
            child.standby_due = self._clock() + self._policy.standby_s
            self._listener(Change("ready", child.program, child.process.pid, port=child.port))

    def _died(self, child: _Child, ended: int) -> None:
        assert child.process is not None
        now = self._clock()
        child.deaths = 1 if now - child.started >= self._policy.stable_s else child.deaths + 1
        wait_s = self._policy.delay_s(child.deaths, ended)
        pid, child.process, child.ready = child.process.pid, None, False
        child.ended, child.due = ended, now + wait_s
        self._unlink(child)
        self._listener(Change("died", child.program, pid, ended=ended, again_in_s=wait_s))

    def _unlink(self, child: _Child) -> None:
        if child.link is not None:
            self._selector.unregister(child.link)
            child.link.close()
            child.link = None


def ended_by(code: int) -> str:
    """An exit code in words: `killed by SIGKILL`, `exit code 3`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
