"""The Faust application: facts into windowed tables with changelogs, on a thread of its own.

`at_least_once` with the position of the last fact inside each cell is exact under kill -9, where
Faust's own `exactly_once` loses updates (measured). What that needs is said where it is done:

- only committed facts are read, which Faust does under `exactly_once` alone;
- a row's partition comes from its key, so that its changelog has one writer and one order;
- the consumer commits late and is still while it seeks (`transport`);
- after a batch that failed nothing is committed: the process ends instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from caseworks.insight.tables import Row, Tables
from caseworks.insight.transport import Written, transport_of
from caseworks.insight.windows import TABLES, Read, partition_of
from events.errors import SetupError
from events.logs import get_logger
from events.metrics import Telemetry
from events.topics import MIB
from schemas.fact import FACTS

if TYPE_CHECKING:
    import faust

BATCH_MAX = 2000
BATCH_WAIT_S = 0.2
SESSION_S = 10.0
SHORT_SEGMENTS = {
    "segment.bytes": str(16 * MIB),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.2",
}
"""A row is written again and again, and only closed segments are compacted: a restart reads all."""
STOP_S = 10.0
WATCH_S = 0.05

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the engine is set up.

    `names_max`: of each kind, for the facts of one partition; `interval_s`: how often `told` is
    called with the tables, on the engine's thread.
    """

    namespace: str
    bootstrap: str
    facts: str
    partitions: int
    instance: str
    folder: Path
    names_max: int
    interval_s: float
    replication: int = 1
    kafka_config: Mapping[str, str] | None = None


class Engine:
    """Runs until *stop* is set, or something fails; then it sets *stop* itself.

    Args:
        config: How it is set up.
        told: Called with the tables every `interval_s`, once they are whole.
        stop: Ends it, and is set by it when it ends.
        telemetry: Counts.
    """

    def __init__(
        self,
        config: EngineConfig,
        told: Callable[[Tables], None],
        *,
        stop: Event,
        telemetry: Telemetry,
    ) -> None:
        self.error: BaseException | None = None
        self.ready = False
        """Whether the tables are whole: their changelogs were read."""
        self._config = config
        self._told = told
        self._stop = stop
        self._telemetry = telemetry
        self._thread = Thread(target=self._run, name="faust", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def trouble(self) -> str:
        """What is wrong, for `/readyz`; nothing when all is well."""
        if self.error is not None:
            return f"insight has failed: {self.error}"
        return "" if self.ready else "insight restores its tables"

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            self.error = error
            log.exception("insight_failed")
        finally:
            self._stop.set()

    async def _live(self) -> None:
        self._config.folder.mkdir(parents=True, exist_ok=True)
        for noisy in ("aiokafka", "faust", "mode"):  # they tell every step at level info
            logging.getLogger(noisy).setLevel(logging.WARNING)
        written = Written()
        app = _make_app(self._config, written)
        shelves = {
            table.name: FaustShelf(_make_table(app, table, self._config)) for table in TABLES
        }
        tables = Tables(shelves, self._config.names_max)
        source = app.topic(
            self._config.facts,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

        async def count_facts(stream: Any) -> None:
            async for events in stream.take_events(BATCH_MAX, within=BATCH_WAIT_S):
                try:
                    self._count(tables, events)
                except Exception as error:  # noqa: BLE001 - whatever it is, the process ends
                    self.error = error
                    written.fail(error)  # to stop acknowledges the batch all the same
                    self._stop.set()
                    await asyncio.Event().wait()  # what is not committed comes again

        app.agent(source)(count_facts)
        for table in app.tables.values():
            table.on_recover(_nothing)
        app.finalize()
        await app.start()
        try:
            await self._until_stopped(app, tables)
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(app.stop(), STOP_S)

    async def _until_stopped(self, app: faust.App, tables: Tables) -> None:
        due = 0.0
        whole = False
        while not self._stop.is_set():
            await asyncio.sleep(WATCH_S)
            if app.crashed:
                raise app.crash_reason or SetupError("Faust ended without a reason")
            if app.rebalancing or not app.tables.recovery.completed.is_set():
                whole = False
                continue
            if not whole:
                tables.learn()
                whole = self.ready = True
            now = time.monotonic()
            if now >= due:
                tables.purge(time.time())
                self._told(tables)
                spent = time.monotonic() - now
                due = now + max(self._config.interval_s, 20 * spent)

    def _count(self, tables: Tables, events: Any) -> None:
        facts = []
        for event in events:
            read = self._read(event)
            if read is not None:
                facts.append(read)
        started = time.perf_counter()
        tables.feed(facts)
        self._telemetry.count("caseworks_insight_facts_total", len(facts))
        self._telemetry.observe("caseworks_insight_turn_seconds", time.perf_counter() - started)

    def _read(self, event: Any) -> Read | None:
        """The fact in an event; one that cannot be read is counted and passed."""
        message = event.message
        kind = dict(message.headers or ()).get("ce_type", b"")
        model = FACTS.get(kind.decode("utf-8", "replace"))
        if model is None or message.value is None:
            self._unread("unknown_type")
            return None
        try:
            fact = model.from_json(message.value)
            fact.at.timestamp()
        except ValidationError:
            self._unread("invalid")
            return None
        except (OverflowError, ValueError):
            self._unread("bad_time")
            return None
        return Read(message.partition, message.offset, message.timestamp, fact)

    def _unread(self, reason: str) -> None:
        self._telemetry.count("caseworks_facts_unread_total", reason=reason)


async def _nothing() -> None:
    """Faust asks for a callback of recovery; the engine looks for itself."""


class FaustShelf:
    """A windowed Faust table as a `Shelf`."""

    def __init__(self, table: faust.Table) -> None:
        self._table = table
        self._window = table.window

    def get(self, row: Row) -> bytes | None:
        found: bytes | None = self._table.data.get((row[0], self._window.current(row[1])))
        return found

    def put(self, row: Row, value: bytes) -> None:
        self._table[row[0], self._window.current(row[1])] = value

    def rows(self) -> list[Row]:
        return [(key, int(window[0])) for key, window in list(self._table.data)]

    def forget(self, row: Row) -> None:
        self._table.data.pop((row[0], self._window.current(row[1])), None)


def _make_table(app: faust.App, spec: Any, config: EngineConfig) -> faust.Table:
    table = app.Table(
        spec.name,
        partitions=config.partitions,
        key_type=None,
        value_type=bytes,
        store="memory://",
        extra_topic_configs=SHORT_SEGMENTS,
    )
    wrapper: Any = table.tumbling(spec.size_s, expires=spec.keep_s)
    made: faust.Table = wrapper.table
    return made


def _make_app(config: EngineConfig, written: Written) -> faust.App:
    import faust

    class KeyedTable(faust.Table):  # type: ignore[misc]
        """Its rows say their partition, whatever event is being handled."""

        def partition_for_key(self, key: Any) -> int:
            return partition_of(key[0])

        def send_changelog(self, *args: Any, **kwargs: Any) -> Any:
            sent = super().send_changelog(*args, **kwargs)
            written.add(sent)
            return sent

    brokers = ";".join(f"aiokafka://{each.strip()}" for each in config.bootstrap.split(","))
    app = faust.App(
        f"{config.namespace}.insight",
        broker=brokers,
        broker_credentials=credentials_of(config.kafka_config or {}),
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=1.0,
        broker_max_poll_records=BATCH_MAX,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{config.namespace}-insight-{config.instance}",
        datadir=str(config.folder),
        processing_guarantee="at_least_once",
        producer_acks=-1,
        store="memory://",
        stream_ack_exceptions=False,
        stream_recovery_delay=0.0,
        stream_wait_empty=False,
        table_cleanup_interval=600.0,
        topic_disable_leader=True,
        topic_partitions=config.partitions,
        topic_replication_factor=config.replication,
        web_enabled=False,
        Table=KeyedTable,
    )
    app.transport = transport_of(written)(app.conf.broker_consumer, app)
    return app


def credentials_of(config: Mapping[str, str]) -> Any:
    """The client settings for TLS and SASL as Faust wants them; `None`: plain text.

    Raises `SetupError` for what it cannot do.
    """
    import ssl

    import faust

    protocol = config.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=config.get("ssl.ca.location"))
        if "ssl.certificate.location" in config:
            context.load_cert_chain(
                config["ssl.certificate.location"], config.get("ssl.key.location")
            )
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = config.get("sasl.mechanism", config.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise SetupError(
            f"insight cannot log in to Kafka by {mechanism}",
            hint="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 over TLS, or TLS with a certificate",
        )
    return faust.SASLCredentials(
        username=config.get("sasl.username"),
        password=config.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )
