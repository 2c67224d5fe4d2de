"""What is done to a running system. Each fault is a value that `do` does to its end.

A mark is set when a fault begins; stalls are told by mark.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from caseworks.supervisor import RestartPolicy
from tests.chaos.crew import LateError
from tests.chaos.proxy import Proxy
from tests.chaos.world import World

STABLE_S = 5.0
"""Younger processes are not killed: their supervisor would wait before it starts them again."""
READY_TIMEOUT_S = 45.0
TAKEOVER_TIMEOUT_S = 60.0
PUBLISHED_MEANWHILE_S = 1.0
IN_SYNC_TIMEOUT_S = 90.0
NEVER_AGAIN = RestartPolicy(backoff_s_max=3600.0, duplicate_s=3600.0)


class Fault(Protocol):
    """One kind of harm."""

    @property
    def label(self) -> str:
        """How the report names it."""

    def do(self, world: World) -> None:
        """Do it, and wait until it is over; raises `LateError`."""


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9 of one process, which its supervisor starts again under its name."""

    role: str

    @property
    def label(self) -> str:
        return f"kill {self.role}"

    def do(self, world: World) -> None:
        name = _victim(world, self.role, STABLE_S)
        world.mark(self.label, name)
        world.crew.signal(name, signal.SIGKILL)
        world.killed(self.role)


@dataclass(frozen=True, slots=True)
class KillEarly:
    """kill -9, and again as soon as its successor runs: while it joins or restores."""

    role: str

    @property
    def label(self) -> str:
        return f"kill {self.role} twice"

    def do(self, world: World) -> None:
        name = _victim(world, self.role, STABLE_S)
        world.mark(self.label, name)
        before = world.crew.signal(name, signal.SIGKILL)
        world.killed(self.role)
        world.crew.until(lambda: world.crew.pid(name) not in (None, before), 10, f"no new {name}")
        world.wait(world.chance.uniform(0.2, 2.0))
        if world.crew.pid(name) is not None:
            world.crew.signal(name, signal.SIGKILL)
            world.killed(self.role)


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP, and SIGCONT later: shorter or longer than the session timeout of 6 s."""

    role: str
    seconds: float

    @property
    def label(self) -> str:
        return f"freeze {self.role} {self.seconds:g} s"

    def do(self, world: World) -> None:
        name = _victim(world, self.role, 0.0)
        world.mark(self.label, name)
        world.crew.signal(name, signal.SIGSTOP)
        try:
            world.wait(self.seconds)
        finally:
            world.crew.signal(name, signal.SIGCONT)
        world.recover()


@dataclass(frozen=True, slots=True)
class Twin:
    """A second process under a coordinator's name: one of them has to give way with exit 75.

    Args:
        stubborn: Its own supervisor starts it again and again, until somebody notices after 12 s.
    """

    stubborn: bool = False

    @property
    def label(self) -> str:
        return "stubborn twin" if self.stubborn else "twin"

    def do(self, world: World) -> None:
        name = _victim(world, "coordinator", 0.0)
        instance = name.removeprefix("coordinator-")
        before = world.crew.deaths.duplicates
        twin = world.cast.coordinator(instance, as_name=f"{name}-twin")
        world.mark(self.label, name)
        world.crew.add(twin, policy=RestartPolicy() if self.stubborn else NEVER_AGAIN)
        try:
            world.crew.until(
                lambda: world.crew.deaths.duplicates > before, 30, f"{name} and its twin both run"
            )
            world.wait(12.0 if self.stubborn else 2.0)
        finally:
            world.crew.dismiss(twin.name)
        world.crew.wait_ready(READY_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class KillNode:
    """kill -9 of a node of Kafka, which comes back; of several, one at a time."""

    away_s: float = 1.0

    @property
    def label(self) -> str:
        return "kill broker"

    def do(self, world: World) -> None:
        cluster = world.cluster
        if len(cluster.nodes) > 1:
            cluster.wait_in_sync(IN_SYNC_TIMEOUT_S)
        node = world.chance.choice(sorted(cluster.nodes))
        world.mark(self.label, f"node-{node}")
        cluster.kill(node)
        world.killed("broker")
        world.wait(self.away_s)
        cluster.restart(node)
        world.recover()


@dataclass(frozen=True, slots=True)
class Network:
    """Everybody behind the proxy loses the network for a while.

    Args:
        how: `pause` (a black hole), `cut` (connections are reset), `delay` (50 ms each way).
    """

    how: str
    seconds: float = 0.0

    @property
    def label(self) -> str:
        return f"network {self.how}" + (f" {self.seconds:g} s" if self.seconds else "")

    def do(self, world: World) -> None:
        proxy = world.proxy
        if proxy is None:
            raise LateError("this scenario has no proxy")
        world.mark(self.label, "network")
        begin, end = _HOW[self.how]
        begin(proxy)
        try:
            world.wait(self.seconds)
        finally:
            end(proxy)
        world.recover()


_HOW: dict[str, tuple[Callable[[Proxy], None], Callable[[Proxy], None]]] = {
    "pause": (Proxy.pause, Proxy.resume),
    "cut": (Proxy.cut, lambda _proxy: None),
    "delay": (lambda proxy: proxy.delay(0.05), lambda proxy: proxy.delay(0.0)),
}


@dataclass(frozen=True, slots=True)
class Roll:
    """A rolling restart: SIGTERM to one after another, each ready before the next."""

    role: str

    @property
    def label(self) -> str:
        return f"roll {self.role}s"

    def do(self, world: World) -> None:
        for name in world.crew.names(self.role):
            world.mark(self.label, name)
            world.crew.signal(name, signal.SIGTERM)
            world.crew.wait_ready(READY_TIMEOUT_S, [name])
            world.recover()


@dataclass(frozen=True, slots=True)
class Storm:
    """Members come and go, in order or by kill -9, at any moment of their life."""

    turns: int = 6

    @property
    def label(self) -> str:
        return "storm"

    def do(self, world: World) -> None:
        crew, chance = world.crew, world.chance
        guests: set[str] = set()
        for _ in range(self.turns):
            number = chance.randrange(4)
            program = (
                world.cast.coordinator(f"guest{number}")
                if number % 2
                else world.cast.worker(0, f"guest{number}")
            )
            world.mark(self.label, program.name)
            if program.name in guests:
                kill = chance.random() < 0.5
                crew.dismiss(program.name, kill=kill)
                guests.discard(program.name)
                if kill:
                    world.killed(program.role)
            else:
                crew.add(program)
                guests.add(program.name)
            world.wait(chance.uniform(0.3, 2.5))
        for name in sorted(guests):
            crew.dismiss(name)


@dataclass(frozen=True, slots=True)
class Scale:
    """Planned: two more coordinators for a while, then away again by SIGTERM."""

    @property
    def label(self) -> str:
        return "scale"

    def do(self, world: World) -> None:
        names = []
        for number in (8, 9):
            program = world.cast.coordinator(str(number))
            world.mark("scale up", program.name)
            world.crew.add(program)
            world.crew.wait_ready(READY_TIMEOUT_S, [program.name])
            names.append(program.name)
            world.wait(4.0)
        for name in names:
            world.mark("scale down", name)
            world.crew.dismiss(name)
            world.wait(9.0)


@dataclass(frozen=True, slots=True)
class Gone:
    """kill -9 of a coordinator that does not come back: the others finish its cases."""

    @property
    def label(self) -> str:
        return "gone for good"

    def do(self, world: World) -> None:
        name = _victim(world, "coordinator", STABLE_S)
        world.mark(self.label, name)
        world.crew.dismiss(name, kill=True)
        world.killed("coordinator")
        _take_over(world, self.label)
        back = world.cast.coordinator(name.removeprefix("coordinator-"))
        world.crew.add(back)
        world.crew.wait_ready(READY_TIMEOUT_S, [back.name])


@dataclass(frozen=True, slots=True)
class GoneInside:
    """A coordinator dies for good with a transaction of one of its loops open."""

    loop: str

    @property
    def label(self) -> str:
        return f"gone inside {self.loop}"

    def do(self, world: World) -> None:
        doomed = world.cast.coordinator("doomed", mutant=f"dies-in-{self.loop}")
        world.crew.add(doomed)
        world.crew.wait_gone(doomed.name, READY_TIMEOUT_S)
        world.mark(self.label, doomed.name)
        world.killed("coordinator")
        _take_over(world, self.label)


def _take_over(world: World, label: str) -> None:
    """How long, from the mark on, until the cases of the dead are finished, later ones included."""
    world.wait(PUBLISHED_MEANWHILE_S)
    if world.wait_answered(TAKEOVER_TIMEOUT_S) is None:
        world.complaints.append(f"{label}: unanswered after {TAKEOVER_TIMEOUT_S:.0f} s")
    else:
        world.takeovers_s.append(time.monotonic() - world.marks[-1].at)


def _victim(world: World, role: str, older_s: float) -> str:
    """One of them that has been ready for so long; waits until there is one."""
    names = world.crew.names
    world.crew.until(lambda: bool(names(role, older_s=older_s)), READY_TIMEOUT_S, f"no {role}")
    return world.chance.choice(names(role, older_s=older_s))
