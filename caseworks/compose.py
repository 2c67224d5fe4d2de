"""The composition root: nobody else constructs adapters, loops or drivers.

`build(app, settings)` is what every command calls; tests and the simulator call the same function
with the memory broker and a clock of their own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, time
from typing import Any

from agents.agent import Agent
from agents.executor import EventLoopThread, ThreadedExecutor
from agents.job import Desk
from agents.limits.dependencies import Dependencies
from agents.mind.model import make_model
from agents.services import Services, Threads, WorkLimits
from agents.stack import handler_of
from agents.threads import DaemonThreads
from agents.worker import WorkerConfig, worker_loop
from caseworks.app import App
from caseworks.changelog import changelog_of
from caseworks.loading import load_app
from caseworks.topics import check_topics, ensure_topics
from coordinator.admission import Admission
from coordinator.correlation import CorrelationLimits
from coordinator.intake import Intake
from coordinator.orchestrator import Orchestrator
from coordinator.store import DictStore
from coordinator.transactional import LoopLimits, TransactionalLoop
from coordinator.turn import Processor, Turn
from coordinator.world import OrchestratorLimits
from events import metrics
from events.broker import Broker, ConsumerSpec, Producer, TopicPartition
from events.dispatch import Clock, Executor, Handles
from events.errors import DeclarationError, SetupError
from events.logs import get_logger
from events.loop import Loop
from events.settings import Settings
from events.sqlite_store import SqliteStores
from events.store import Store
from events.thread_driver import ThreadDriver

__all__ = ["Actor", "System", "build", "connect", "load_app"]

WATCH_S = 0.05
JOIN_S = 10.0
"""After this a loop without partitions counts as ready: others have them all."""
JOIN_MARGIN_S = 5.0
STUCK_S = 60.0
GC_THRESHOLD = (200_000, 20, 100)
"""Batches make many short-lived objects and no cycles: collecting less often saves a fifth."""

_log = get_logger("caseworks.loop")


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


@dataclass(frozen=True)
class System:
    """An app wired to a broker. Frozen: roles are run, nothing is switched."""

    app: App
    settings: Settings
    broker: Broker
    clock: Clock
    telemetry: metrics.Telemetry
    drivers: list[ThreadDriver] = field(default_factory=list)
    """The loops that run in this process."""
    loops: list[TransactionalLoop] = field(default_factory=list)
    """The transactional ones that were begun, for whoever looks into their state."""
    restoring: set[str] = field(default_factory=set)
    """Those that have restored none of their partitions yet."""

    def ensure_topics(self) -> tuple[str, ...]:
        """Make missing topics and check them all. Raises `SetupError`."""
        return ensure_topics(self.app, self.settings, self.broker)

    def check_topics(self) -> int:
        """Check the topics; returns the inbox's partition count. Raises `SetupError`."""
        return check_topics(self.app, self.settings, self.broker)

    def run_coordinator(self, stop: Event) -> int:
        """Run a coordinator's loops until *stop*; returns the process's exit code."""
        return self._run(self.coordinator(), stop)

    def run_worker(self, agents: Sequence[str], stop: Event) -> int:
        """Run these agents' loops until *stop*; returns the process's exit code.

        Raises `DeclarationError` for an agent that the app does not have.
        """
        host = EventLoopThread()
        with closing(self.broker.producer(ordered=False)) as producer:
            services = self.services(producer, DaemonThreads())
            actors = self.workers(agents, services, lambda desk: ThreadedExecutor(desk, host))
            code = self._run(actors, stop)
            host.close()
            producer.flush(self.settings.drain_timeout_s)
        return code

    def ready(self) -> tuple[bool, str]:
        """Whether every loop of this process runs and has its partitions, and if not, why."""
        if not self.drivers:
            return False, "starting"
        now = monotonic()
        for why in (why for loop in self.loops for why in loop.stopped.values()):
            return False, why
        for driver in self.drivers:
            if not driver.alive:
                return False, f"{driver.name} has ended"
            if now - driver.last_turn > STUCK_S:
                return False, f"{driver.name} has not come round for {STUCK_S:.0f} s"
            if not driver.owned and now - driver.started < JOIN_S:
                return False, f"{driver.name} waits for its partitions"
            if self.restoring and now - driver.started < JOIN_S:
                return False, f"restoring: {', '.join(sorted(self.restoring))}"
        return True, "ready"

    def _run(self, actors: Sequence[Actor], stop: Event) -> int:
        gc.freeze()  # what is loaded by now stays: no collection needs to look at it again
        gc.set_threshold(*GC_THRESHOLD)
        self.restoring.update(actor.restores for actor in actors if actor.restores)
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
        limits = OrchestratorLimits(
            case_bytes_max=settings.case_bytes_max + settings.event_bytes_max,
            dedupe_window_s=settings.dedupe_window_s,
            keep_s=settings.dead_cases_keep_s,
            unseen_max_s=changelog.tombstones_s / 2,
            cases_open_max=settings.cases_open_max,
            correlation=CorrelationLimits(
                keep_s=settings.signal_keep_s, dedupe_window_s=settings.dedupe_window_s
            ),
        )

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
            )

        return (
            self._transactional("intake", settings.topics.events, intake),
            self._transactional("orchestrator", settings.topics.inbox, orchestrator),
        )

    def services(self, producer: Producer, threads: Threads) -> Services:
        """What the agents of one process share."""
        settings = self.settings
        return Services(
            producer=producer,
            now=self.clock,
            dependencies=Dependencies(clock=self.clock, telemetry=self.telemetry),
            threads=threads,
            worker=f"{settings.namespace}-worker-{settings.instance}",
            namespace=settings.namespace,
            model=make_model(settings),
            telemetry=self.telemetry,
            limits=WorkLimits(
                output_bytes_max=settings.output_bytes_max,
                repairs_max=settings.model_repairs_max,
            ),
        )

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
        desk = Desk(agent, services, handler_of())

        def handles() -> Handles:
            return Handles(
                broker=self.broker,
                clock=self.clock,
                consumer=self.broker.consumer(spec),
                executor=executor(desk),
                note=self.listen,
            )

        return Actor(
            name=name, loop=lambda: worker_loop(config), handles=handles, wants_revoking=True
        )

    def _transactional(self, loop: str, topic: str, processor: Callable[[], Processor]) -> Actor:
        settings, name = self.settings, self._name(loop)
        limits = LoopLimits(batch_max=settings.batch_max, take_timeout_s=settings.take_timeout_s)
        spec = ConsumerSpec(
            group=settings.topics.loop_group(loop),
            topics=(topic,),
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
            waits = Admission(control, settings.cases_open_max) if loop == "intake" else None
            begun = TransactionalLoop(processor(), name, limits, waits)
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

    def listen(self, name: str, fields: Mapping[str, Any]) -> None:
        """Count and log what a loop notes."""
        loop = str(fields.get("loop", ""))
        if name == "committed":
            self._committed(loop, fields["turn"])
        elif name == "in_flight":
            self.telemetry.set("caseworks_in_flight", fields["in_flight"], agent=fields["agent"])
        elif name in ("aborted", "fenced", "retried"):
            self.telemetry.count("caseworks_transactions_total", loop=loop, end=name)
            _log.warning(name, **{key: str(value) for key, value in fields.items()})
        elif name in ("full", "room"):
            self._admission(name, fields)
        elif name in ("discarded", "stopped"):
            self._troubled(name, loop, fields)
        elif name in ("loop_failed", "release"):
            _log.error(name, **{key: str(value) for key, value in fields.items()})
        else:
            if name == "restored":
                self.restoring.discard(loop)
            _log.info(name, **{key: str(value) for key, value in fields.items()})

    def _admission(self, name: str, fields: Mapping[str, Any]) -> None:
        """Intake waits, or goes on."""
        self.telemetry.set("caseworks_intake_waits", name == "full")
        if name == "full":
            self.telemetry.count("caseworks_intake_full_total")
        _log.warning(f"intake_{name}", **{key: str(value) for key, value in fields.items()})

    def _troubled(self, name: str, loop: str, fields: Mapping[str, Any]) -> None:
        """A state was thrown away, or its partition stands still."""
        if name == "stopped":
            self.telemetry.count("caseworks_partitions_stopped_total", loop=loop)
            _log.error("partition_stopped", **{key: str(value) for key, value in fields.items()})
        else:
            reason = str(fields["reason"])
            self.telemetry.count("caseworks_states_discarded_total", reason=reason)
            _log.warning("state_discarded", **{key: str(value) for key, value in fields.items()})

    def _committed(self, loop: str, turn: Turn) -> None:
        tell = self.telemetry
        for (name, labels), value in turn.counts.items():
            tell.count(name, value, **dict(labels))
        for name, value, labels in turn.observed:
            tell.observe(name, value, **dict(labels))
        tell.count("caseworks_transactions_total", loop=loop, end="committed")
        tell.set("caseworks_loop_last_turn_timestamp_seconds", self.clock(), loop=loop)


def build(
    app: App,
    settings: Settings,
    *,
    broker: Broker | None = None,
    clock: Clock = time,
    telemetry: metrics.Telemetry = metrics.NULL,
) -> System:
    """Wire an app. Raises `DeclarationError` for the app, `SetupError` for the broker."""
    _ = app.plans
    return System(
        app=app,
        settings=settings,
        broker=broker if broker is not None else connect(settings),
        clock=clock,
        telemetry=telemetry,
    )


def connect(settings: Settings) -> Broker:
    """The Kafka of the settings, else the local one that the data folder names.

    Raises `SetupError` when there is neither.
    """
    from events.kafka import KafkaBroker

    bootstrap = settings.bootstrap_servers
    if not bootstrap:
        from events.local_kafka import status

        running = status(settings.data_dir)
        if running is None:
            raise SetupError(
                "no broker: nothing is set and no local Kafka runs here",
                hint="caseworks up, caseworks kafka start, or CASEWORKS_BOOTSTRAP_SERVERS",
            )
        bootstrap = running.bootstrap
    return KafkaBroker(
        bootstrap,
        config=settings.kafka_config,
        client_id=f"caseworks-{settings.namespace}",
        transaction_timeout_s=settings.transaction_timeout_s,
        replication=settings.replication_factor,
    )
