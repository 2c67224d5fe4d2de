"""A whole app in the simulator: every role under one virtual clock, with faults, then counted.

The loops are those of the real processes, wired by the same composition root; only the driver and
the broker differ. The same seed gives the same run, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

from agents.executor import SimExecutor
from agents.limits.fleet import NO_FLEET
from agents.threads import Inline
from caseworks.app import App
from caseworks.check.clients import CALM, Clients, Crowd
from caseworks.check.evidence import Evidence, State
from caseworks.check.trouble import Poison, troubled
from caseworks.client import delivered
from caseworks.compose import Actor, System, build
from caseworks.topics import specs_of
from coordinator.orchestrator import Orchestrator
from events.broker import Message, TopicPartition
from events.dispatch import Executor
from events.memory import HARSH, Faults
from events.memory.journal import Journal
from events.settings import Settings
from events.sim_actors import Incarnation, Program
from events.sim_driver import Run, SimDriver
from events.sim_pace import Pace
from events.sim_schedule import Schedule
from schemas.commands import Opened
from schemas.event import Event
from schemas.result import Result

STEPS_MAX = 60_000
SETTLE_S = 30.0
"""Virtual time after the last result in which a second one would show itself."""
PACE = Pace(stride_max_s=4.0, growth=4.0)
SETTLING = Pace(stride_max_s=15.0, growth=32.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run suffers, and how large it is."""

    faults: Faults = HARSH
    clients: Clients = CALM
    coordinators: int = 2
    workers: int = 1
    """Processes of each agent."""
    fleet: bool = True
    """Whether breakers are shared, where an agent declares what it calls."""
    pace: Pace = PACE
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Where they differ from those of `small`."""


@dataclass(frozen=True)
class Verdict:
    """What became of the events of one run."""

    run: Run
    published: tuple[str, ...]
    trace: tuple[str, ...]
    schedule: Schedule
    evidence: Evidence

    @cached_property
    def results(self) -> dict[str, list[Result]]:
        """By event id, in the order of publication."""
        found: dict[str, list[Result]] = {}
        for read in self.evidence.results:
            found.setdefault(read.said.event.id, []).append(read.said)
        return found

    @cached_property
    def refused(self) -> Counter[str]:
        """Events in the dead letters of intake, by id."""
        topics = self.evidence.settings.topics
        written = self.evidence.by_topic.get(topics.dlq(topics.events), ())
        return Counter(wrote.message.header("ce_id") or "" for _, wrote in written)

    @property
    def lost(self) -> list[str]:
        """Events without a result and without a dead letter."""
        return [id_ for id_ in self.published if id_ not in self.results and not self.refused[id_]]

    @property
    def doubled(self) -> list[str]:
        """Events with more than one answer: amendments by a replay are none."""
        return [
            id_
            for id_ in self.published
            if sum(result.amends is None for result in self.results.get(id_, ()))
            + self.refused[id_]
            > 1
        ]

    @property
    def positions(self) -> tuple[tuple[int | None, int | None], ...]:
        """By inbox partition: the committed position, and the changelog's own record of it (I2)."""
        evidence, topics = self.evidence, self.evidence.settings.topics
        group = topics.loop_group("orchestrator")
        recorded = {p: reads[-1].said for p, reads in evidence.positions.items()}
        return tuple(
            (evidence.final.get((group, TopicPartition(topics.inbox, p))), recorded.get(p))
            for p in range(evidence.settings.inbox_partitions)
        )


def simulate(  # noqa: PLR0913 - what a run depends on
    app: App,
    events: Sequence[Event],
    seed: int,
    *,
    faults: Faults | None = None,
    scenario: Scenario | None = None,
    tracing: bool = True,
    schedule: Schedule | None = None,
) -> Verdict:
    """Run an app on these events under faults, until all have an answer or nothing moves.

    With a *schedule* the seed means nothing: it says who goes, and what goes wrong.
    """
    chosen = scenario or Scenario()
    world = chosen if faults is None else replace(chosen, faults=faults)
    settings = small().model_copy(update=dict(world.settings))
    crew = _Crew(app, settings, fleet=world.fleet)
    with SimDriver(
        seed, faults=world.faults, tracing=tracing, schedule=schedule, pace=world.pace
    ) as driver:
        journal = driver.broker.cluster.journal = Journal()
        driver.broker.admin().create(specs_of(app, settings))
        for number in range(world.coordinators):
            named = settings.model_copy(update={"instance": str(number)})
            driver.add(f"coordinator-{number}", partial(crew.coordinator, named))
        for agent in app.agents:
            driver.add(f"worker-{agent}", partial(crew.worker, agent, settings))
            for number in range(1, world.workers):
                named = settings.model_copy(update={"instance": str(number)})
                driver.add(f"worker-{agent}-{number}", partial(crew.worker, agent, named))
        Crowd(driver, settings, world.clients, app.plans).come(events)
        count = _Count(app, settings, driver)
        run = driver.run(lambda: count.answered() >= len(events), steps_max=STEPS_MAX)
        driver.calm()
        driver.pace = SETTLING
        settled = driver.run(steps_max=STEPS_MAX, seconds_max=SETTLE_S)
        if settled.error is not None:
            run = settled
        return Verdict(
            run,
            tuple(dict.fromkeys(event.id for event in events)),
            tuple(driver.trace),
            driver.schedule,
            crew.evidence(events, journal, driver),
        )


@cache
def small() -> Settings:
    """Few partitions and slots, so that faults meet and tasks wait for their turn."""
    return Settings(
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=2,
        results_partitions=1,
        # A loop that looks in vain tells nothing new: it looks less often than on a real cluster.
        take_timeout_s=1.0,
        commit_interval_s=0.5,
        in_flight_max=2,
        read_ahead_max=1,
        key_depth_max=1,
    )


class _Crew:
    """Starts the processes of a run, and remembers what the evidence needs of them."""

    def __init__(self, app: App, settings: Settings, *, fleet: bool) -> None:
        self.app = app
        self.settings = settings
        # Breakers are decided only where there is something to break: it takes steps.
        self._fleet = fleet and any(agent.spec.calls for agent in app.agents.values())
        self._checked: list[int] = []
        """What the first process found of the topics: they stay what they are."""
        self.systems: dict[str, System] = {}
        """By life."""
        self.in_flight: Counter[str] = Counter()
        self.poison: set[str] = set()
        """Tasks that kill who runs them."""
        self.calls: Counter[str] = Counter()
        """Of effects, by their ids."""

    def coordinator(self, settings: Settings, life: Incarnation) -> list[Program]:
        """The programs of one life of a coordinator process."""
        system = self._system(settings, life)
        controller = (system.controller(),) if self._fleet else ()
        return self._programs((*system.coordinator(), *controller))

    def worker(self, agent: str, settings: Settings, life: Incarnation) -> list[Program]:
        """The programs of one life of an agent's worker process."""
        system = self._system(settings, life)
        producer = life.broker.producer()
        calls = self._fleet and self.app.agents[agent].spec.calls
        view = system.fleet([agent], producer) if calls else None
        services = system.services(producer, Inline(), view or NO_FLEET)
        services.effects.watch(self._calling)

        def executor(desk: Any) -> Executor:
            desk.handler = troubled(life.world.dice, life.label, Poison(self.poison, life.doom))
            return SimExecutor(desk, life.event_loop)

        watch = (system.watch(view),) if view is not None else ()
        return self._programs((*system.workers([agent], services, executor), *watch))

    def evidence(self, events: Sequence[Event], journal: Journal, driver: SimDriver) -> Evidence:
        """What this run leaves behind."""
        return Evidence(
            plans={plan.name: plan for plan in self.app.plans},
            agents={name: agent.spec for name, agent in self.app.agents.items()},
            settings=self.settings,
            events=tuple(events),
            entries=tuple(journal.counted),
            now=driver.now,
            live=self._live(driver),
            skew_s=max(map(abs, driver.pace.skews_s)) if _jumped(driver) else 0.0,
            keep_s=self.settings.dead_cases_keep_s,
            in_flight=dict(self.in_flight),
            calls=dict(self.calls),
        )

    def _calling(self, effect_id: str) -> None:
        self.calls[effect_id] += 1

    def _system(self, settings: Settings, life: Incarnation) -> System:
        made = build(self.app, settings, broker=life.broker, clock=life.clock)
        made.checked.extend(self._checked)
        self._checked = made.checked
        self.systems[life.label] = made
        return made

    def _programs(self, actors: Sequence[Actor]) -> list[Program]:
        made = []
        for actor in actors:
            handles = actor.handles()
            handles.note = self._note
            made.append(Program(actor.loop(), handles, actor.wants_revoking))
        return made

    def _note(self, name: str, fields: Mapping[str, Any]) -> None:
        if name == "in_flight":
            agent = fields["agent"]
            self.in_flight[agent] = max(self.in_flight[agent], fields["in_flight"])

    def _live(self, driver: SimDriver) -> dict[int, State]:
        """The states of partitions whose owners are restored and wait for something to do."""
        found: dict[int, State] = {}
        for life in driver.lives:
            if not life.idle:
                continue
            for loop in self.systems[life.label].loops:
                if isinstance(loop.processor, Orchestrator):
                    states = loop.processor.states
                    found |= {tp.partition: states[tp.partition] for tp in loop.ready}
        return found


def _jumped(driver: SimDriver) -> bool:
    return any(fired.kind == "clock_jump" for fired in driver.dice.fired)


class _Count:
    """An independent reader of committed results, and of events that became dead letters."""

    def __init__(self, app: App, settings: Settings, driver: SimDriver) -> None:
        topics = settings.topics
        read: dict[str, Callable[[Message], str]] = {
            topics.dlq(topics.events): lambda message: message.header("ce_id") or "",
            topics.dlq(topics.inbox): _unopened,
        }
        read |= {topics.results(plan.name): _answered for plan in app.plans}
        there = driver.broker.cluster.topics
        self._logs = [(log, read[name]) for name in read for log in there[name].logs]
        self._offsets = [0] * len(self._logs)
        self._found: set[str] = set()

    def answered(self) -> int:
        """How many events have an answer by now."""
        for at, (log, name_of) in enumerate(self._logs):
            if len(log.entries) > self._offsets[at]:
                slice_ = log.read(self._offsets[at], 10_000)
                self._offsets[at] = slice_.next_offset
                self._found.update(map(name_of, slice_.messages))
                self._found.discard("")
        return len(self._found)


def _answered(message: Message) -> str:
    return delivered(message).result.event.id


def _unopened(message: Message) -> str:
    """The event of a case that could not be opened; nothing for other commands."""
    if message.header("ce_type") != Opened.ce_type:
        return ""
    return Opened.from_json(message.value or b"").event.id
