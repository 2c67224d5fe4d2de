"""The simulation driver: a whole system on one thread, a virtual clock, one seeded `Random`.

    driver = SimDriver(seed=7, faults=HARSH)
    driver.broker.admin().create(topics)
    driver.add("coordinator-0", boot)      # boot(incarnation) -> programs
    run = driver.run(until=lambda: count_results() == 5)

One step is one operation of one actor, chosen at random among those that can go on. Every step is
a point where its process may be killed, before or after the operation, or stopped and continued.
When everybody waits, time jumps to the next moment at which something happens. The same seed
gives the same run, byte for byte, in any process: nothing here depends on hashing or on wall time.

Source of the idea: deterministic simulation as FoundationDB and TigerBeetle practise it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Literal, Self

from events.errors import BrokerError, OperatorError
from events.memory import QUIET, Dice, Faults, Fired, Limits, MemoryBroker
from events.sim_actors import Boot, Incarnation, Runner
from events.sim_director import Director
from events.sim_network import Network
from events.sim_pace import Pace
from events.sim_roster import Roster
from events.sim_schedule import DUE, JUMP, Schedule

Outcome = Literal["done", "steps", "time", "stuck", "crashed"]
"""`done`: `until` became true. `steps`, `time`: a bound was reached before. `stuck`: nothing
happens any more. `crashed`: a loop or an agent failed with something else than a broker's or an
operator's error: a bug."""

LATE_S = 1.0
"""How long a run goes on beyond its time for those who can go."""

_OF_PROCESSES = ("kill", "stop", "clock_jump")
_OF_GROUPS = ("rebalance", "lost_partitions")


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a run."""

    seed: int
    outcome: Outcome
    steps: int
    seconds: float
    """Virtual time that passed."""
    fired: tuple[Fired, ...]
    exits: int
    """Processes that ended by themselves with a broker's or an operator's error."""
    error: BaseException | None = None
    """What crashed, when something did."""

    def __str__(self) -> str:
        """One line for people."""
        faults = ", ".join(f"{fired.kind}@{fired.where}" for fired in self.fired) or "none"
        what = f": {self.error!r}" if self.error is not None else ""
        return (
            f"seed {self.seed}: {self.outcome} after {self.steps} steps,"
            f" {self.seconds:.3f} s{what}; faults: {faults}"
        )


@dataclass(slots=True)
class _Actor:
    """A process name and its present life."""

    name: str
    boot: Boot
    mortal: bool
    lives: int = 0
    life: Incarnation | None = None


class SimDriver:
    """Runs actors on one modelled cluster.

    Args:
        seed: Decides everything that is left to chance.
        faults: What goes wrong, how often.
        limits: The broker's settings.
        pace: How time passes.
        tracing: Keep a trace and a schedule; switched off, a run is faster and otherwise the same.
        schedule: Run this instead of choosing; the seed then means nothing.
        start_s: Where the virtual clock starts.
    """

    def __init__(  # noqa: PLR0913 - what a run depends on
        self,
        seed: int,
        *,
        faults: Faults = QUIET,
        limits: Limits | None = None,
        pace: Pace | None = None,
        tracing: bool = True,
        schedule: Schedule | None = None,
        start_s: float = 1_700_000_000.0,
    ) -> None:
        self.seed = seed
        self._director = Director(seed, keeps=tracing, schedule=schedule)
        self.dice = Dice(self._director.rng, faults)
        self.dice.on_fired = self._on_fired
        self._random = self._director.rng.random
        self.broker = MemoryBroker(self.clock, dice=self.dice, limits=limits)
        """The cluster; make topics and clients of the test with it. No fault strikes them."""
        self.broker.link.spared = True
        self.now = self.start_s = start_s
        self.steps = self.exits = 0
        self.tracing = tracing
        self.trace: list[str] = []
        self.pace = pace or Pace()
        self._actors: dict[str, _Actor] = {}
        self.roster = Roster(Network(self.broker, self._lives), self.broker.cluster, self._lives)
        """Who can go."""
        self._agenda: list[tuple[float, int, str, Callable[[], None]]] = []
        self._order = count()
        self._stride_s = 0.0
        self._quiet_since, self._quiet_max_s = start_s, inf

    def clock(self) -> float:
        """Virtual seconds since the epoch."""
        return self.now

    @property
    def schedule(self) -> Schedule:
        """What was chosen so far; empty without `tracing`."""
        return tuple(self._director.kept)

    # --- the system

    def add(self, name: str, boot: Boot, *, mortal: bool = True) -> None:
        """Add a process. `mortal=False`: no fault strikes it."""
        actor = self._actors[name] = _Actor(name, boot, mortal)
        self._begin(actor)

    def after(self, delay_s: float, what: str, action: Callable[[], None]) -> None:
        """Do something at a later time, for example publish; `what` stands in the trace."""
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._order), what, action))

    def kill(self, name: str) -> None:
        """Kill a process now; it is restarted after a while."""
        self._kill(self._actors[name])

    def close(self) -> None:
        """Drop every process, so that nothing of this run outlives it."""
        for life in self._lives():
            life.die()
        for actor in self._actors.values():
            actor.life = None
        self.roster.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lives(self) -> tuple[Incarnation, ...]:
        """The processes that live now."""
        return tuple(self._lives())

    def calm(self) -> None:
        """No more faults from now on."""
        self.dice.calm()

    # --- the run

    def run(
        self,
        until: Callable[[], bool] = lambda: False,
        *,
        steps_max: int = 20_000,
        seconds_max: float = inf,
        quiet_max_s: float = 120.0,
    ) -> Run:
        """Go on until `until` is true, or one of the bounds is reached.

        May be called again to go on. `until` is asked when the cluster has changed or everybody
        waits. When the time is up, those who can go still do for `LATE_S`: the last jump may have
        gone past their timers. When nothing changes and no agent acts for `quiet_max_s` of virtual
        time, the run is stuck: a system that waits for its own timers longer than that needs more.
        """
        error: BaseException | None = None
        self._quiet_max_s, self._quiet_since = quiet_max_s, self.now
        self.roster.forget()
        try:
            outcome = self._run(until, self.steps + steps_max, self.now + seconds_max)
        except Exception as crash:  # noqa: BLE001 - the finding of this run; the caller reports it
            self.tell("driver", f"crashed: {crash!r}")
            outcome, error = "crashed", crash
        fired = tuple(self.dice.fired)
        passed_s = self.now - self.start_s
        return Run(self.seed, outcome, self.steps, passed_s, fired, self.exits, error)

    def _run(self, until: Callable[[], bool], steps_max: int, now_max: float) -> Outcome:
        cluster = self.broker.cluster
        roster = self.roster
        asked_at, jumped, late_max = -1, False, 0.0
        self._director.begin()
        while True:
            changed = cluster.version != asked_at
            if changed:
                asked_at, self._quiet_since = cluster.version, self.now
            if (changed or jumped) and until():
                return "done"
            if self.steps >= steps_max:
                return "steps"
            if self._agenda and self._agenda[0][0] <= self.now:
                self._do_due()
            roster.look(self.now)
            if self.now >= now_max:
                late_max = late_max or self.now + LATE_S
                if self.now >= late_max or not roster.able:
                    return "time"
            runner = self._director.choose(roster)
            jumped = runner is None
            try:
                if runner is not None:
                    self._step(runner)
                elif not self._jump():
                    return "stuck"
            finally:
                if self._director.keeps:
                    self._director.done(JUMP if runner is None else runner.key)

    def _step(self, runner: Runner) -> None:
        self.steps += 1
        self.now += self._random() * self.pace.step_s
        life = runner.life
        if not runner.only_waits:
            self._quiet_since = self.now
        self.roster.acted = runner
        if life is None:
            runner.step()
            return
        actor = self._actors[life.name]
        strikes_one = self.dice.strikes_one
        if actor.mortal and (struck := strikes_one(_OF_PROCESSES, runner.label)):
            if struck == "kill":
                if self.dice.pick(2):
                    runner.half_step()
                self._kill(actor)
                return
            if struck == "stop":
                self._stop(life)
                return
            self._skew(life)
        if struck := strikes_one(_OF_GROUPS, "groups"):
            self._trouble_groups(struck)
        try:
            runner.step()
        except StopIteration:
            self._ended(actor, life, runner)
        except (BrokerError, OperatorError) as error:
            self.tell(runner.label, f"exits: {type(error).__name__}: {error}")
            self.exits += 1
            self._kill(actor)
        if life.doomed:
            self._kill(actor)

    def _jump(self) -> bool:
        """Let time pass to the next moment of interest; `False` when there is none.

        What is certain to happen bounds the jump. Time-outs of takes are only waiting: while
        nothing changes, jumps over them grow.
        """
        cluster = self.broker.cluster
        certain, waiting = self.roster.wakes()
        coming = self._agenda[0][0] if self._agenda else inf
        target = min(certain, coming, cluster.deadline, max(waiting, self.now + self._stride_s))
        if self.now - self._quiet_since > self._quiet_max_s:
            return False
        if target == inf:
            return bool(self.roster.able)
        grown = max(self.pace.growth * self._stride_s, 0.01)
        self._stride_s = min(grown, self.pace.stride_max_s)
        self.now = max(self.now, target)
        with cluster.lock:
            before = cluster.version
            cluster.tick()
            if cluster.version != before:
                self._stride_s = 0.0
        return True

    def _do_due(self) -> None:
        self._director.due()
        self.roster.forget()
        while self._agenda and self._agenda[0][0] <= self.now:
            _, _, what, action = heapq.heappop(self._agenda)
            self._stride_s, self._quiet_since = 0.0, self.now
            if what:
                self.tell("agenda", what)
            action()
        self._director.done(DUE)

    # --- lives and deaths

    def _begin(self, actor: _Actor) -> None:
        life = Incarnation(self, self.broker, actor.name, actor.lives, self.clock)
        life.broker.link.spared = not actor.mortal
        actor.lives += 1
        actor.life = life
        self.tell(life.label, "begins")
        life.live(actor.boot(life))
        self.roster.forget()

    def _kill(self, actor: _Actor) -> None:
        life, actor.life = actor.life, None
        if life is None:
            return
        life.die()
        if self.dice.rng.random() < self.pace.expired:
            life.broker.link.expire()
        self.roster.forget()
        delay_s = self.dice.between(*self.pace.restart_s)
        self.after(delay_s, "", lambda: self._begin(actor))

    def _stop(self, life: Incarnation) -> None:
        life.frozen = True
        self.roster.forget()
        life.broker.link.silence()
        if self.dice.rng.random() < self.pace.expired:
            life.broker.link.expire()
        self.after(self.dice.between(*self.pace.stop_s), "", lambda: self._continue(life))

    def _continue(self, life: Incarnation) -> None:
        if life.broker.link.alive:
            self.tell(life.label, "continues")
            life.frozen = False
            life.broker.link.resume()

    def _skew(self, life: Incarnation) -> None:
        skews = self.pace.skews_s
        life.skew_s = skews[self.dice.pick(len(skews))]
        self.tell(life.label, f"clock is {life.skew_s:+g} s off")
        self.after(
            self.dice.between(*self.pace.skewed_s), "", partial(setattr, life, "skew_s", 0.0)
        )

    def _ended(self, actor: _Actor, life: Incarnation, runner: Runner) -> None:
        """A loop returned: its handles are closed; the process ends with its last loop."""
        self.tell(runner.label, "ends")
        runner.finish()
        if all(loop.done for loop in life.runners):
            actor.life = None
            life.die()
        self.roster.forget()

    def _trouble_groups(self, struck: str) -> None:
        if struck == "rebalance":
            self._rebalance()
        else:
            self._lose_partitions()

    def _rebalance(self) -> None:
        groups = [g for g in self.broker.cluster.groups.values() if g.members]
        if groups:
            chosen = groups[self.dice.pick(len(groups))]
            self.tell("groups", f"rebalance {chosen.name}")
            self.broker.rebalance(chosen.name, rotate=self.dice.pick(2))

    def _lose_partitions(self) -> None:
        members = [
            (group, member)
            for life in self._lives()
            if self._actors[life.name].mortal
            for member, group in life.broker.link.members.items()
        ]
        if members:
            group, member = members[self.dice.pick(len(members))]
            self.tell("groups", f"expire {member.id} of {group.name}")
            with self.broker.cluster.lock:
                self.broker.cluster.expire(group, member)

    def _lives(self) -> list[Incarnation]:
        return [actor.life for actor in self._actors.values() if actor.life is not None]

    # --- the trace

    def tell(self, who: str, text: str) -> None:
        """Add a line: step, seconds since the start, who, what."""
        if self.tracing:
            self.trace.append(f"{self.steps} {self.now - self.start_s:.6f} {who} {text}")

    def agents_began(self) -> None:
        """A process made its event loop: step that too."""
        self.roster.forget()

    def _on_fired(self, fired: Fired) -> None:
        self.tell(fired.where, f"!! {fired.kind}")
