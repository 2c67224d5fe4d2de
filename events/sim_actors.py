"""What the simulation driver steps: lives of processes, their loops and their agents.

An *actor* is a process under a stable name. Each start of it is an `Incarnation`: one connection to
the broker, one or more loops, at most one event loop for agents. A kill ends all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Protocol

from events import loop as op
from events.broker import Taken, TopicPartition
from events.dispatch import Clock, Handles, collect, perform, take
from events.errors import CaseworksError, DeclarationError, RetriableError, UnstableError
from events.memory import Dice, MemoryBroker, MemoryConnection
from events.memory.consumer import MemoryConsumer
from events.sim_trace import answer_of, text_of
from events.virtual_loop import VirtualLoop

REST_S = 0.005
"""How long an actor rests after `RetriableError` and `UnstableError` if nothing else happens."""
NOW = -inf
"""Due already."""
_ALONE = (op.Now, op.Note, op.ResumedFrom)
"""Done with the operation before: nobody else could tell whether a kill came between."""


@dataclass(frozen=True, slots=True)
class Program:
    """A loop and what it may use, made for one incarnation.

    `wants_revoking`: the loop is told `Revoking` before its partitions go.
    """

    loop: op.Loop
    handles: Handles
    wants_revoking: bool = False


class World(Protocol):
    """What actors see of their driver."""

    now: float
    dice: Dice
    tracing: bool

    def tell(self, who: str, text: str) -> None:
        """Add a line to the trace; only when `tracing`, so that texts are not made in vain."""

    def agents_began(self) -> None:
        """A process made its event loop."""


class Runner(Protocol):
    """Something that can be stepped."""

    label: str
    key: str
    """The same in every life: what schedules name it by."""
    done: bool
    only_waits: bool
    """Its waking is a time-out that can come late, not an event that time brings."""
    place: int
    """Where it stands among all; -1: nowhere."""

    @property
    def life(self) -> Incarnation | None:
        """Whose it is; `None` for the network."""

    def due(self) -> float:
        """From when on a step may do something: `NOW`, or infinity when time does not bring it."""

    def neighbours(self) -> Sequence[Runner]:
        """Whose `due` may differ after its step, whatever changed on the cluster."""

    def step(self) -> None:
        """Do one thing."""

    def half_step(self) -> None:
        """Do it, and lose the answer."""

    def finish(self) -> None:
        """It ended in order: free what it holds."""


class Incarnation:
    """One life of an actor: what its boot function builds on.

    Attributes:
        broker: The cluster, as this process is connected to it; make every port with it.
        clock: This process's wall clock: the virtual clock, plus `skew_s`.
        number: 0 for the first life; kills and exits begin the next.
    """

    def __init__(
        self, world: World, broker: MemoryBroker, name: str, number: int, clock: Clock
    ) -> None:
        self.name = name
        self.number = number
        self.label = f"{name}.{number}"
        self.broker: MemoryConnection = broker.connect(self.label)
        self.true_clock = clock
        self.skew_s = 0.0
        """How far this process's wall clock is off."""
        self.world = world
        self.frozen = False
        self.doomed = False
        """Whatever runs in it just killed it."""
        self.activity = 0
        """Grows with whatever the process does beside its loops: a waiting collect looks again."""
        self.runners: list[LoopRunner] = []
        self.stepper: AgentStepper | None = None

    def clock(self) -> float:
        """Seconds since the epoch, as this process sees them."""
        return self.true_clock() + self.skew_s

    @property
    def rng(self) -> Random:
        """The run's source of chance."""
        return self.world.dice.rng

    @property
    def event_loop(self) -> VirtualLoop:
        """The event loop of this process; made when first asked for."""
        if self.stepper is None:
            self.stepper = AgentStepper(self, VirtualLoop(self.true_clock))
            self.world.agents_began()
        return self.stepper.event_loop

    def live(self, programs: Sequence[Program]) -> None:
        """Begin to run these."""
        several = len(programs) > 1
        for index, program in enumerate(programs):
            end = f"/{index}" if several else ""
            self.runners.append(LoopRunner(self, end, program))

    @property
    def idle(self) -> bool:
        """Whether each of its loops waits for something to do."""
        return not self.frozen and all(runner.waits for runner in self.runners)

    def all_runners(self) -> list[Runner]:
        """Loops, then agents."""
        return [*self.runners, *([self.stepper] if self.stepper is not None else [])]

    def doom(self) -> None:
        """End this process as soon as the step that calls this is done."""
        self.doomed = True

    def die(self) -> None:
        """First the broker refuses every call, then loops and agents are dropped."""
        self.broker.link.cut()
        for runner in self.runners:
            runner.drop()
        if self.stepper is not None:
            self.stepper.event_loop.abandon()


Boot = Callable[[Incarnation], Sequence[Program]]


class LoopRunner:
    """Performs a loop's operations, one a step. Waiting is being parked until something changed."""

    only_waits = True
    place = -1

    def __init__(self, life: Incarnation, end: str, program: Program) -> None:
        """*end* tells the loops of one process apart."""
        if not isinstance(program.handles.consumer, MemoryConsumer):
            raise DeclarationError(
                f"{life.label}{end} has a consumer of another broker",
                hint="make it with incarnation.broker",
            )
        self.life: Incarnation = life
        self.label, self.key = life.label + end, life.name + end
        self.loop = program.loop
        self.handles = program.handles
        self.done = False
        self._consumer = program.handles.consumer
        self._wants_revoking = program.wants_revoking
        self._cluster = life.broker.cluster
        self._pending: op.Operation | None = None
        self._assignment: object = None
        """The last answered one, by identity: the consumer makes a new one with each change."""
        self._lost: frozenset[TopicPartition] = frozenset()
        """Not yet told."""
        self._announced = self._halfway = self._parked = False
        self._until = NOW
        """When the pending take or collect has waited long enough."""
        self._version = self._activity = -1
        """Of the cluster and of the process, when this loop last looked."""

    def due(self) -> float:
        life = self.life
        if life.frozen:
            return inf
        if not self._parked:
            return NOW
        version, activity = self._cluster.version, life.activity
        if version != self._version or activity != self._activity:
            settled = activity != self._activity and isinstance(self._pending, op.Collect)
            if settled or self._consumer.stirs():
                return NOW
            self._version, self._activity = version, activity
        return self._until

    def neighbours(self) -> Sequence[Runner]:
        """The agents, to whom it gives work."""
        stepper = self.life.stepper
        return () if stepper is None else (stepper,)

    def step(self) -> None:
        """Raises `StopIteration` when the loop ended, and whatever the loop raises."""
        self._parked = False
        match self._pending:
            case None:
                self._next(next(self.loop))
            case op.Take() as waiting:
                self._take(waiting)
            case op.Collect() as waiting:
                self._collect(waiting)
            case operation:
                self._perform(operation)

    def half_step(self) -> None:
        """Carry the pending operation out, and lose the answer: the process dies just then."""
        if self._pending is None or isinstance(self._pending, (op.Take, op.Collect)):
            return
        with suppress(CaseworksError):
            perform(self._pending, self.handles)
            self._tell(self._pending, " -> (unheard)")

    def drop(self) -> None:
        """End the loop as a kill does; its `finally` blocks run, but nothing they yield is done."""
        self.done = True
        with suppress(Exception):  # dying words of a killed process; nobody hears them
            self.loop.close()

    def finish(self) -> None:
        """The loop returned: leave the group, free the clients."""
        self.done = True
        with suppress(CaseworksError):  # it has ended; a refused good-bye changes nothing
            self.handles.close()

    # --- operations

    def _perform(self, operation: op.Operation) -> None:
        try:
            answer = perform(operation, self.handles)
        except CaseworksError as error:
            self._throw(operation, error)
        else:
            self._answer(operation, answer)

    def _take(self, waiting: op.Take) -> None:
        world = self.life.world
        if self._until == NOW:
            self._until = world.now + waiting.timeout_s
        if self._wants_revoking and not self._announced and (going := self._consumer.leaving()):
            self._announced = True
            self._answer(waiting, op.Revoking(going))
            return
        if not self._halfway and world.dice.weather("split_take"):
            self._halfway = self._take_first(waiting)
            if self._halfway:
                return
        self._halfway = self._announced = False
        try:
            taken = take(self.handles, waiting.n, 0.0)
        except CaseworksError as error:
            self._throw(waiting, error)
            return
        if self._lost:
            taken = Taken(taken.messages, taken.assignment, taken.lost | self._lost)
        nothing = taken.assignment is self._assignment and not taken.messages and not taken.lost
        patient = not taken.assignment and world.dice.weather("patient_take")
        if (nothing or patient) and world.now < self._until:
            self._lost = taken.lost
            self._park()
            return
        self._lost = frozenset()
        self._assignment = taken.assignment
        self._answer(waiting, taken)

    def _take_first(self, waiting: op.Take) -> bool:
        try:
            got = self._consumer.take_first()
        except CaseworksError:
            return False  # the whole take says it again
        if got:
            self._tell(waiting, " -> (first)")
        return got

    def _collect(self, waiting: op.Collect) -> None:
        world = self.life.world
        if self._until == NOW:
            self._until = world.now + waiting.timeout_s
        try:
            settled = collect(self.handles, 0.0)
        except CaseworksError as error:
            self._throw(waiting, error)
        else:
            if not settled and world.now < self._until:
                self._park()
            else:
                self._answer(waiting, settled)

    # --- answers

    def _tell(self, operation: op.Operation, end: str) -> None:
        if self.life.world.tracing:
            self.life.world.tell(self.label, text_of(operation) + end)

    def _answer(self, operation: op.Operation, answer: op.Answer) -> None:
        if self.life.world.tracing:
            self._tell(operation, answer_of(answer))
        self._next(self.loop.send(answer))

    def _throw(self, operation: op.Operation, error: CaseworksError) -> None:
        self._tell(operation, f" -> {type(error).__name__}: {error}")
        self._next(self.loop.throw(error))
        if isinstance(error, (RetriableError, UnstableError)) and not self.waits:
            self._until = self.life.world.now + REST_S
            self._park()

    def _next(self, operation: op.Operation) -> None:
        while isinstance(operation, _ALONE):
            operation = self.loop.send(perform(operation, self.handles))
        self._pending = operation
        self._until = NOW

    @property
    def waits(self) -> bool:
        """Whether it waits for something to do."""
        return isinstance(self._pending, (op.Take, op.Collect))

    def _park(self) -> None:
        self._parked = True
        self._version, self._activity = self._cluster.version, self.life.activity


class AgentStepper:
    """Runs the coroutines of a process, one callback a step."""

    only_waits = False
    done = False
    place = -1

    def __init__(self, life: Incarnation, event_loop: VirtualLoop) -> None:
        self.life: Incarnation = life
        self.label, self.key = f"{life.label}/agents", f"{life.name}/agents"
        self.event_loop = event_loop
        self._soon, self._later = event_loop.soon, event_loop.later

    def due(self) -> float:
        if self.life.frozen:
            return inf
        if self._soon:
            return NOW
        due = self.event_loop.next_timer() if self._later else None
        return inf if due is None else due

    def neighbours(self) -> Sequence[Runner]:
        """The loops that wait for what agents answer."""
        return self.life.runners

    def step(self) -> None:
        """Raises `DeclarationError` for an exception that no coroutine handled."""
        self.event_loop.run_ready(1)
        self.life.activity += 1
        if self.event_loop.errors:
            context = self.event_loop.errors.pop()
            raise DeclarationError(
                f"{self.life.label}: {context.get('message')}: {context.get('exception')!r}"
            )

    def half_step(self) -> None:
        """A callback is done or not; there is no answer to lose."""

    def finish(self) -> None:
        """It ends with its process."""
