"""The composition root: nobody else constructs adapters, loops or drivers.

`build(app, settings)` is what every command calls; tests and the simulator call the same function
with the memory broker and a clock of their own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from time import time

from agents.agent import Agent
from agents.effects.effects import Effects
from agents.effects.tail import Tail
from agents.executor import EventLoopThread, ThreadedExecutor
from agents.forks import end_forks_that_return
from agents.job import Desk
from agents.limits.dependencies import Dependencies
from agents.limits.failures import FailureLimits
from agents.limits.fleet import NO_FLEET, Fleet
from agents.limits.fleet_loop import fleet_loop
from agents.limits.fleet_view import FleetView
from agents.limits.gate import gate_of
from agents.mind.model import make_model
from agents.processes.pool import Processes
from agents.services import Services, Threads, WorkLimits
from agents.stack import handler_for
from agents.threads import DaemonThreads
from agents.worker import WorkerConfig, worker_loop
from caseworks.app import App
from caseworks.changelog import changelog_of
from caseworks.connection import connect
from caseworks.limits import orchestrator_limits, outages_of
from caseworks.loading import load_app
from caseworks.notes import Notes, count_from_nil
from caseworks.readiness import readiness
from caseworks.topics import check_topics, ensure_topics
from caseworks.tracing.live import Tracing, traced, tracing_of
from coordinator.admission import Admission
from coordinator.breakers import BreakerLimits
from coordinator.controller import Controller
from coordinator.intake import Intake
from coordinator.orchestrator import Orchestrator
from coordinator.store import DictStore
from coordinator.transactional import LoopLimits, TransactionalLoop
from coordinator.turn import Processor, Watch
from events import metrics
from events.broker import Broker, ConsumerSpec, Producer, TopicPartition
from events.dispatch import Clock, Executor, Handles, Listener
from events.errors import DeclarationError
from events.loop import Loop
from events.settings import Settings
from events.sqlite_store import SqliteStores
from events.store import Store
from events.thread_driver import ThreadDriver

__all__ = ["Actor", "System", "build", "connect", "load_app"]

WATCH_S = 0.05
JOIN_MARGIN_S = 5.0
IDLE_TAKE_S = 0.1
"""How long loops wait that have seldom something to do."""
GC_THRESHOLD = (200_000, 20, 100)
"""Batches make many short-lived objects and no cycles: collecting less often saves a fifth."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One loop of a process with what it needs; `handles` is called anew at every start."""

    name: str
    loop: Callable[[], Loop]
    handles: Callable[[], Handles]
    wants_revoking: bool = False
    """Whether it is told before partitions go."""
    restores: str = ""
    """The loop's own name when it must restore before it is ready."""
    aside: bool = False
    """A process is ready without it: the fleet's decisions, which one of many takes."""


@dataclass(frozen=True)
class System:
    """An app wired to a broker. Frozen: roles are run, nothing is switched."""

    app: App
    settings: Settings
    broker: Broker
    clock: Clock
    telemetry: metrics.Telemetry
    tracing: Tracing | None = None  # what records attempts; default: as the environment says
    drivers: list[ThreadDriver] = field(default_factory=list)
    """The loops that run in this process."""
    loops: list[TransactionalLoop] = field(default_factory=list)
    """The transactional ones that were begun, for whoever looks into their state."""
    restoring: set[str] = field(default_factory=set)
    """Those that have restored none of their partitions yet."""
    aside: set[str] = field(default_factory=set)
    """The loops that readiness does not wait for."""
    checked: list[int] = field(default_factory=list)
    """The inbox's partition count, once the topics were checked."""
    troubles: list[Callable[[], str]] = field(default_factory=list)
    """What else says why this process cannot work; nothing when it can."""

    def ensure_topics(self) -> tuple[str, ...]:
        """Make missing topics and check them all. Raises `SetupError`."""
        return ensure_topics(self.app, self.settings, self.broker)

    def check_topics(self) -> int:
        """Check the topics, once; returns the inbox's partition count. Raises `SetupError`."""
        if not self.checked:
            self.checked.append(check_topics(self.app, self.settings, self.broker))
        return self.checked[0]

    def run_coordinator(self, stop: Event) -> int:
        """Run a coordinator's loops until *stop*; returns the process's exit code."""
        count_from_nil(self.telemetry, [plan.name for plan in self.app.plans])
        return self._run((*self.coordinator(), self.controller()), stop)

    def run_worker(self, agents: Sequence[str], stop: Event) -> int:
        """Run these agents' loops until *stop*; returns the process's exit code.

        Raises `DeclarationError` for an agent that the app does not have.
        """
        end_forks_that_return()
        host = EventLoopThread(stuck_after_s=self.settings.stuck_after_s, telemetry=self.telemetry)
        with closing(self.broker.producer(ordered=False)) as producer:
            view = self.fleet(agents, producer)
            processes = self.processes(agents)
            tracing = self.tracing or tracing_of(self.settings)
            services = traced(self.services(producer, DaemonThreads(), view), tracing)
            services = replace(services, processes=processes)
            host.loop.call_soon_threadsafe(processes.start)
            self.troubles.extend((host.stalls.trouble, processes.trouble))
            actors = self.workers(agents, services, lambda desk: ThreadedExecutor(desk, host))
            code = self._run((*actors, self.watch(view)), stop)
            host.close()
            producer.flush(self.settings.drain_timeout_s)
            services.effects.close()
            if tracing is not None:
                tracing.close()
        return code

    def run_insight(self, stop: Event) -> int:
        """Make facts of results and count them until *stop*; returns the process's exit code."""
        from caseworks.insight.role import run

        def run_loop(topics: tuple[str, ...], processor: Callable[[], Processor]) -> int:
            return self._run((self._transactional("facts", topics, processor, IDLE_TAKE_S),), stop)

        return run(self, stop, run_loop)

    def ready(self) -> tuple[bool, str]:
        """Whether every loop of this process runs and has its partitions, and if not, why."""
        return readiness(self)

    def _run(self, actors: Sequence[Actor], stop: Event) -> int:
        gc.freeze()  # what is loaded by now stays: no collection needs to look at it again
        gc.set_threshold(*GC_THRESHOLD)
        self.restoring.update(actor.restores for actor in actors if actor.restores)
        self.aside.update(actor.name for actor in actors if actor.aside)
        for actor in actors:
            self.drivers.append(
                ThreadDriver(
                    actor.name,
                    actor.loop,
                    actor.handles,
                    stop=stop,
                    listener=self.listen,
                    wants_revoking=actor.wants_revoking,
                )
            )
        for driver in self.drivers:
            driver.start()
        while not stop.wait(WATCH_S):
            if not all(driver.alive for driver in self.drivers):
                stop.set()
        for driver in self.drivers:
            driver.join(self.settings.drain_timeout_s + JOIN_MARGIN_S)
        return max((driver.exit_code for driver in self.drivers), default=0)

    def coordinator(self) -> tuple[Actor, ...]:
        """The loops of a coordinator process."""
        settings, app = self.settings, self.app
        partitions, changelog = self.check_topics(), changelog_of(settings, self.broker)
        limits = orchestrator_limits(settings, changelog.tombstones_s)
        outages = outages_of(app, settings)

        def intake() -> Processor:
            return Intake(settings.topics, app.plans, app.data_types, settings.event_bytes_max)

        def orchestrator() -> Processor:
            return Orchestrator(
                settings.topics,
                app.plans,
                partitions=partitions,
                writer_id=self._name("orchestrator"),
                limits=limits,
                store_of=self._stores(changelog.identity),
                outages=outages,
            )

        return (
            self._transactional("intake", settings.topics.events, intake),
            self._transactional("orchestrator", settings.topics.inbox, orchestrator, watch=outages),
        )

    def controller(self) -> Actor:
        """The loop that decides for the fleet; of several coordinators, one owns its partition."""
        settings, topics = self.settings, self.settings.topics
        limits = BreakerLimits(reset_s=settings.breaker_reset_s, ramp_s=settings.breaker_ramp_s)

        def controller() -> Processor:
            return Controller(topics, self._name("controller"), limits)

        actor = self._transactional("controller", topics.requests, controller, IDLE_TAKE_S)
        return replace(actor, restores="", aside=True)

    def fleet(self, agents: Sequence[str], producer: Producer) -> FleetView:
        """What the fleet decided, as the worker process of these agents sees it."""
        settings = self.settings
        first = next(iter(agents), "")
        return FleetView(
            worker=f"{settings.namespace}-fleet-{first}-{settings.instance}",
            topics=settings.topics,
            producer=producer,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    def watch(self, view: FleetView) -> Actor:
        """The loop that reads the decisions into a view; its group is this process's own."""
        settings = self.settings
        spec = ConsumerSpec(
            group=view.worker,
            topics=(settings.topics.control,),
            instance=view.worker,
            paused_on_assign=True,
            session_timeout_s=settings.session_timeout_s,
        )

        def handles() -> Handles:
            return Handles(
                broker=self.broker,
                clock=self.clock,
                consumer=self.broker.consumer(spec),
                note=self.listen,
            )

        wait_s = max(settings.take_timeout_s, IDLE_TAKE_S)
        return Actor(view.worker, lambda: fleet_loop(view, wait_s), handles, aside=True)

    def services(self, producer: Producer, threads: Threads, fleet: Fleet = NO_FLEET) -> Services:
        """What the agents of one process share."""
        settings, worker, topics = self.settings, self._name("worker"), self.settings.topics
        tail = Tail(topics.effects, self.broker.reader, producer, threads)
        return Services(
            producer=producer,
            now=self.clock,
            dependencies=Dependencies(clock=self.clock, telemetry=self.telemetry, fleet=fleet),
            threads=threads,
            worker=worker,
            namespace=settings.namespace,
            effects=Effects(tail, topics, worker, self.clock, self.telemetry),
            model=make_model(settings),
            telemetry=self.telemetry,
            limits=WorkLimits(
                output_bytes_max=settings.output_bytes_max,
                stuck_after_s=settings.stuck_after_s,
                stuck_max_s=settings.stuck_max_s,
                repairs_max=settings.model_repairs_max,
                failures=FailureLimits(same_max=settings.pause_after_failures),
            ),
        )

    def processes(self, agents: Sequence[str]) -> Processes:
        """The child processes of those agents that have some; not started."""
        bytes_max = self.settings.output_bytes_max
        return Processes(map(self._agent, agents), bytes_max, self.telemetry)

    def workers(
        self, names: Sequence[str], services: Services, executor: Callable[[Desk], Executor]
    ) -> tuple[Actor, ...]:
        """One loop per agent. Raises `DeclarationError` for one that the app does not have."""
        return tuple(self._worker(self._agent(name), services, executor) for name in names)

    def _agent(self, name: str) -> Agent:
        agent = self.app.agents.get(name)
        if agent is None:
            known = ", ".join(sorted(self.app.agents))
            raise DeclarationError(f"no agent {name!r} in app {self.app.name!r} (known: {known})")
        return agent

    def _worker(
        self, agent: Agent, services: Services, executor: Callable[[Desk], Executor]
    ) -> Actor:
        settings, topics = self.settings, self.settings.topics
        name = f"{settings.namespace}-worker-{agent.name}-{settings.instance}"
        spec = ConsumerSpec(
            group=topics.workers_group(agent.name),
            topics=(topics.tasks(agent.name), topics.tasks(agent.name, "urgent")),
            instance=name,
            session_timeout_s=settings.session_timeout_s,
        )
        config = WorkerConfig.of(agent.spec, settings)
        gate = gate_of(agent.spec, services.dependencies)
        desk = Desk(agent, services, handler_for(agent, services))

        def handles() -> Handles:
            return Handles(
                broker=self.broker,
                clock=self.clock,
                consumer=self.broker.consumer(spec),
                executor=executor(desk),
                note=self.listen,
            )

        return Actor(
            name=name, loop=lambda: worker_loop(config, gate), handles=handles, wants_revoking=True
        )

    def _transactional(
        self,
        loop: str,
        topic: str | tuple[str, ...],
        processor: Callable[[], Processor],
        take_timeout_s: float = 0.0,
        watch: Watch | None = None,
    ) -> Actor:
        settings, name = self.settings, self._name(loop)
        wait_s = max(settings.take_timeout_s, take_timeout_s)
        limits = LoopLimits(batch_max=settings.batch_max, take_timeout_s=wait_s)
        spec = ConsumerSpec(
            group=settings.topics.loop_group(loop),
            topics=(topic,) if isinstance(topic, str) else topic,
            instance=name,
            paused_on_assign=True,
            session_timeout_s=settings.session_timeout_s,
        )

        def handles() -> Handles:
            return Handles(
                broker=self.broker,
                clock=self.clock,
                consumer=self.broker.consumer(spec),
                transactional_id=name,
                reader=self.broker.reader(),
                note=self.listen,
            )

        def run() -> Loop:
            control = TopicPartition(settings.topics.control, 0)
            watched = Admission(control, settings.cases_open_max) if loop == "intake" else watch
            begun = TransactionalLoop(processor(), name, limits, watched)
            self.loops.append(begun)
            return begun.run()

        return Actor(name=name, loop=run, handles=handles, restores=loop)

    def _name(self, loop: str) -> str:
        """The stable name of a loop: its membership and its transactional id (rule 4)."""
        return f"{self.settings.namespace}-{loop}-{self.settings.instance}"

    def _stores(self, identity: str) -> Callable[[int], Store]:
        """What holds the state of partitions: a disk only if the changelog lasts as long."""
        settings = self.settings
        if settings.state_store == "memory" or not self.broker.features.persistent:
            return DictStore
        folder = settings.data_dir / "state" / settings.namespace / settings.instance
        return SqliteStores(folder, identity)

    @property
    def listen(self) -> Listener:
        """Counts and logs what a loop notes."""
        return Notes(self.telemetry, self.clock, self.restoring)


def build(
    app: App,
    settings: Settings,
    *,
    broker: Broker | None = None,
    clock: Clock = time,
    telemetry: metrics.Telemetry = metrics.NULL,
    tracing: Tracing | None = None,
) -> System:
    """Wire an app. Raises `DeclarationError` for the app, `SetupError` for the broker."""
    _ = app.plans
    return System(
        app=app,
        settings=settings,
        broker=broker if broker is not None else connect(settings),
        clock=clock,
        telemetry=telemetry,
        tracing=tracing,
    )
