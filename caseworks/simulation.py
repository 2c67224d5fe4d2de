"""A whole app in the simulator: every role under one virtual clock, with faults, then counted.

The loops are those of the real processes, wired by the same composition root; only the driver and
the broker differ. The same seed gives the same run, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic_core import to_json

from agents.executor import SimExecutor
from agents.threads import Inline
from caseworks.app import App
from caseworks.client import delivered
from caseworks.compose import Actor, System, build
from caseworks.topics import specs_of
from coordinator.partition import POSITION_KEY
from events.broker import TopicPartition
from events.dispatch import Executor
from events.envelope import event_record
from events.memory import HARSH, Faults
from events.settings import Settings
from events.sim_actors import Incarnation, Program
from events.sim_driver import Run, SimDriver
from schemas.case import Position
from schemas.event import Event
from schemas.result import Result

STEPS_MAX = 60_000
SETTLE_S = 30.0
"""Virtual time after the last result in which a second one would show itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the events of one run."""

    run: Run
    results: dict[str, list[Result]]
    """By event id, in the order of publication."""
    refused: Counter[str]
    """Events in the dead letters of intake, by id."""
    published: tuple[str, ...]
    trace: tuple[str, ...]
    positions: tuple[tuple[int | None, int | None], ...]
    """By inbox partition: the committed position, and the changelog's own record of it (I2)."""

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


def simulate(  # noqa: PLR0913 - what a run depends on
    app: App,
    events: Sequence[Event],
    seed: int,
    *,
    faults: Faults = HARSH,
    coordinators: int = 2,
    tracing: bool = True,
    settings: Settings | None = None,
) -> Verdict:
    """Run an app on these events under faults, until all have an answer or nothing moves."""
    chosen = settings or small()
    with SimDriver(seed, faults=faults, tracing=tracing) as driver:
        driver.broker.admin().create(specs_of(app, chosen))
        for number in range(coordinators):
            named = chosen.model_copy(update={"instance": str(number)})
            driver.add(f"coordinator-{number}", partial(coordinator, app, named))
        for agent in app.agents:
            driver.add(f"worker-{agent}", partial(worker, app, chosen, agent))
        _publish(driver, events, chosen)
        count = _Count(app, chosen, driver)
        run = driver.run(lambda: count.answered() >= len(events), steps_max=STEPS_MAX)
        driver.calm()
        driver.pace = replace(driver.pace, stride_max_s=15.0)
        driver.run(steps_max=STEPS_MAX, seconds_max=SETTLE_S)
        return count.verdict(run, tuple(event.id for event in events))


def coordinator(app: App, settings: Settings, life: Incarnation) -> list[Program]:
    """The programs of one life of a coordinator process."""
    return _programs(_system(app, settings, life).coordinator())


def worker(app: App, settings: Settings, agent: str, life: Incarnation) -> list[Program]:
    """The program of one life of an agent's worker process."""
    system = _system(app, settings, life)
    services = system.services(life.broker.producer(), Inline())

    def executor(desk: Any) -> Executor:
        return SimExecutor(desk, life.event_loop)

    return _programs(system.workers([agent], services, executor))


def small() -> Settings:
    """Few partitions, so that faults meet, and bounds as in production."""
    return Settings(
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=2,
        results_partitions=1,
        take_timeout_s=0.5,
        commit_interval_s=0.5,
    )


def _system(app: App, settings: Settings, life: Incarnation) -> System:
    return build(app, settings, broker=life.broker, clock=life.clock)


def _programs(actors: Sequence[Actor]) -> list[Program]:
    return [Program(actor.loop(), actor.handles(), actor.wants_revoking) for actor in actors]


def _publish(driver: SimDriver, events: Sequence[Event], settings: Settings) -> None:
    producer = driver.broker.producer()
    for number, event in enumerate(events):
        record = event_record(event, settings.topics.events, to_json(event.data))
        driver.after(0.1 * number, f"publish {event.id}", partial(producer.produce, record))


class _Count:
    """An independent reader of committed results."""

    def __init__(self, app: App, settings: Settings, driver: SimDriver) -> None:
        topics = self.topics = settings.topics
        self.driver = driver
        self.dlq = topics.dlq(topics.events)
        named = [*(topics.results(plan.name) for plan in app.plans), self.dlq]
        there = driver.broker.admin().topics()
        self.next = {
            TopicPartition(name, partition): 0
            for name in named
            for partition in range(there[name].partitions)
        }
        self.reader = driver.broker.reader()
        self.results: dict[str, list[Result]] = {}
        self.refused: Counter[str] = Counter()

    def answered(self) -> int:
        """How many events have an answer by now."""
        for source, slice_ in self.reader.read_many(self.next, 10_000).items():
            for message in slice_.messages:
                if source.topic == self.dlq:
                    self.refused[message.header("ce_id") or ""] += 1
                else:
                    result = delivered(message).result
                    self.results.setdefault(result.event.id, []).append(result)
            self.next[source] = slice_.next_offset
        return len(self.results) + len(self.refused)

    def verdict(self, run: Run, published: tuple[str, ...]) -> Verdict:
        self.answered()
        self.driver.broker.write_markers()  # a run may end between a decision and its markers
        trace = tuple(self.driver.trace)
        return Verdict(run, self.results, self.refused, published, trace, self._positions())

    def _positions(self) -> tuple[tuple[int | None, int | None], ...]:
        lag = self.driver.broker.admin().lag(self.topics.loop_group("orchestrator"))
        return tuple(
            (each.committed, self._recorded(each.source.partition))
            for each in sorted(lag, key=lambda each: each.source)
        )

    def _recorded(self, partition: int) -> int | None:
        log = self.reader.read(TopicPartition(self.topics.cases, partition), 0, 1_000_000)
        found = [m.value for m in log.messages if m.key == POSITION_KEY and m.value is not None]
        return Position.from_json(found[-1]).inbox if found else None
