"""The role `insight` beside its loop of facts: the engine, and what it tells others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from caseworks.connection import bootstrap_of
from caseworks.insight.alerts import AlertLimits, Episodes, measures
from caseworks.insight.business import Baseline, business, load_baseline
from caseworks.insight.engine import Engine, EngineConfig
from caseworks.insight.facts import FactWriter, reads
from caseworks.insight.metrics import Gauges
from caseworks.insight.rates import standings
from caseworks.insight.snapshot import path_of, snapshot, write
from caseworks.scan import partition_counts, partitions_of, records
from coordinator.turn import Processor
from events.envelope import record_of
from events.errors import CaseworksError, SetupError
from events.logs import get_logger
from schemas.alert import Alert

if TYPE_CHECKING:
    from caseworks.compose import System
    from caseworks.insight.tables import Tables
    from events.broker import Broker, Producer
    from events.dispatch import Clock
    from events.settings import Settings

STOP_S = 15.0
FLUSH_S = 2.0

log = get_logger(__name__)


@dataclass(slots=True)
class Teller:
    """Writes the snapshot, sets the gauges and says alerts. Called on the engine's thread."""

    settings: Settings
    clock: Clock
    gauges: Gauges
    producer: Producer
    episodes: Episodes
    baseline: Baseline | None

    def __call__(self, tables: Tables) -> None:
        now, settings = self.clock(), self.settings
        limits = limits_of(settings)
        found = standings(tables, now, limits.window_s)
        seen = frozenset(f"{s.subject.kind}:{s.subject.name}" for s in found if s.recent.n)
        said = self.episodes.judge(measures(found, limits), seen, now, limits.window_s)
        self._say(said, now)
        cells = {s.subject.name: s.month for s in found if s.subject.kind == "workflow"}
        numbers = business(cells, self.baseline, tables.days(now)) if self.baseline else None
        self.gauges.tell(found, self.episodes, numbers, tables.book.refused)
        made = snapshot(
            tables,
            found,
            self.episodes.open.values(),
            namespace=settings.namespace,
            now=now,
            business=numbers,
        )
        try:
            write(path_of(settings.data_dir, settings.namespace), made)
        except OSError as error:  # the tables stand; the next one may succeed
            log.warning("snapshot_not_written", error=str(error))

    def _say(self, said: list[Alert], now: float) -> None:
        """Alerts that are not acknowledged stay queued: they are said when the broker is back."""
        for alert in said:
            log.warning("alert", rule=alert.rule, scope=alert.scope, state=alert.state)
            self.producer.produce(
                record_of(
                    alert,
                    Alert.ce_type,
                    topic=self.settings.topics.alerts,
                    key=alert.rule,
                    ce_id=f"{alert.alert_id}:{alert.state}",
                    source=f"caseworks/{self.settings.namespace}",
                    now=now,
                )
            )
        if said and (missing := self.producer.flush(FLUSH_S)):
            log.warning("alerts_not_acknowledged", missing=missing)


RunLoop = Callable[[tuple[str, ...], Callable[[], Processor]], int]
"""Runs a transactional loop over these topics until it ends; returns its exit code."""


def run(system: System, stop: Event, run_loop: RunLoop) -> int:
    """Run the role until *stop*; returns the process's exit code.

    Raises `SetupError` without the extra `insight`, or for a baseline that cannot be read.
    """
    settings = system.settings
    topics, writer = settings.topics, f"{settings.namespace}-facts-{settings.instance}"
    read = reads(topics, [plan.name for plan in system.app.plans])
    with closing(Role.of(system, stop)) as role:
        system.troubles.append(role.trouble)
        return run_loop(read, lambda: FactWriter(topics, writer)) or role.exit_code


class Role:
    """The engine with everything that it needs; `of` makes and starts it."""

    def __init__(self, engine: Engine, producer: Producer, stop: Event) -> None:
        self._engine = engine
        self._producer = producer
        self._stop = stop

    @classmethod
    def of(cls, system: System, stop: Event) -> Self:
        """Make and start it."""
        if find_spec("faust") is None:
            raise SetupError("insight needs Faust", hint="pip install 'caseworks[insight]'")
        settings = system.settings
        baseline = load_baseline(settings.insight_baseline) if settings.insight_baseline else None
        producer = system.broker.producer()
        teller = Teller(
            settings=settings,
            clock=system.clock,
            gauges=Gauges(system.telemetry),
            producer=producer,
            episodes=said_before(system.broker, settings),
            baseline=baseline,
        )
        engine = Engine(
            config_of(settings, system.broker), teller, stop=stop, telemetry=system.telemetry
        )
        engine.start()
        return cls(engine, producer, stop)

    def trouble(self) -> str:
        """What is wrong, for `/readyz`."""
        return self._engine.trouble()

    @property
    def exit_code(self) -> int:
        """What the process should exit with for the engine."""
        error = self._engine.error
        if error is None:
            return 0
        return error.exit_code if isinstance(error, CaseworksError) else 1

    def close(self) -> None:
        """End the engine; waits a bounded time."""
        self._stop.set()
        self._engine.join(STOP_S)
        self._producer.flush(FLUSH_S)
        self._producer.close()


def limits_of(settings: Settings) -> AlertLimits:
    """The bounds of alerts."""
    return AlertLimits(
        errors_max=settings.insight_errors_max,
        confidence_min=settings.insight_confidence_min,
        guards_max=settings.insight_guards_max,
        samples_min=settings.insight_samples_min,
        window_s=settings.insight_window_s,
    )


def config_of(settings: Settings, broker: Broker) -> EngineConfig:
    """How the engine is set up; the tables have as many partitions as the topic of facts."""
    facts = settings.topics.facts
    return EngineConfig(
        namespace=settings.namespace,
        bootstrap=bootstrap_of(settings),
        facts=facts,
        partitions=len(partitions_of(partition_counts(broker), [facts])),
        instance=settings.instance,
        folder=settings.data_dir / "insight" / "faust",
        names_max=settings.insight_names_max,
        interval_s=settings.insight_interval_s,
        replication=settings.replication_factor,
        kafka_config=settings.kafka_config,
    )


def said_before(broker: Broker, settings: Settings) -> Episodes:
    """The alerts that were firing when insight last ran."""
    episodes = Episodes()
    sources = partitions_of(partition_counts(broker), [settings.topics.alerts])
    with closing(broker.reader()) as reader:
        for source in sources:
            for message in records(reader, source):
                alert = _alert(message.value)
                if alert is not None:
                    episodes.learn(alert)
    return episodes


def _alert(value: Any) -> Alert | None:
    try:
        return Alert.from_json(value or b"")
    except ValidationError:
        return None  # somebody else's record: it opens and ends nothing
