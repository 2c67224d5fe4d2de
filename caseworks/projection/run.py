"""Keeps the projection up with Kafka: reads what is committed, writes it, says how far it is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Self

from caseworks.projection.connection import projection_path
from caseworks.projection.file import Why, mendable, sole_writer
from caseworks.projection.fold import Batch
from caseworks.projection.retention import Retention
from caseworks.projection.writer import ProjectionWriter
from caseworks.scan import (
    dead_letter_topics,
    partition_counts,
    partitions_of,
    results_topics,
)
from events import metrics
from events.broker import Broker, LogSlice, TopicPartition
from events.errors import RetriableError, SetupError
from events.logs import get_logger

if TYPE_CHECKING:
    from events.settings import Settings

RECORDS_MAX = 10_000
"""Records of one read and one transaction."""
RECORDS_MIN = 100
BYTES_WANTED = 32 * 1024 * 1024
"""Of one read, as the records before were: large ones are read in smaller numbers."""
LOOK_S = 15.0
"""How often new topics are looked for, and topics that were made anew."""
TELL_S = 1.0
SWEEP_S = 5.0
TROUBLE_S = 1.0
"""How long to wait for a broker that does not answer."""
AWAY_S = 10.0
"""A broker that is away for so long makes the process not ready."""

log = get_logger(__name__)


class Projection:
    """Owns the file and a reader; a context manager, used by one thread.

    Entering raises `SetupError`: no topics, another writer, or a file that cannot be written.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        telemetry: metrics.Telemetry = metrics.NULL,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._held = ExitStack()
        self._next: dict[TopicPartition, int] = {}
        self._whole_at: dict[TopicPartition, float] = {}
        """When each partition was last seen to be read to its end."""
        self._records = RECORDS_MAX // 10
        self._look_at = self._tell_at = self._sweep_at = self._answered_at = 0.0
        self.behind = 0
        """Records that are not written yet, as of the last look."""
        self.caught_up = False
        """Whether it was at the end of all topics once, with the file that it has."""

    @property
    def path(self) -> Path:
        """The file."""
        return projection_path(self._settings.data_dir, self._settings.namespace)

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(sole_writer(self.path))
            settings = self._settings
            keep = Retention(settings.projection_keep_s, settings.projection_cases_max)
            self.writer = ProjectionWriter(self.path, keep)
            held.callback(self.writer.close)
            self._reader = self._broker.reader()
            held.callback(self._reader.close)
            if self.writer.discarded is not None:
                self._count_discarded(self.writer.discarded)
            self.caught_up = self.writer.caught_up
            self._look(self._clock())
            self._held = held.pop_all()
        return self

    def __exit__(self, *_reason: object) -> None:
        self._held.close()

    def ready(self) -> tuple[bool, str]:
        """Whether readers can rely on the file now, and if not, why. From any thread."""
        if not self.caught_up:
            return False, f"catching up: {self.behind} records behind"
        if self._clock() - self._answered_at > AWAY_S:
            return False, "the broker does not answer"
        return True, "ready"

    def run(self, stop: Event) -> int:
        """Go on until *stop*; a broker that is away is waited for. Returns the exit code."""
        while not stop.is_set():
            try:
                full = self.turn()
            except RetriableError as error:
                log.warning("cannot read", error=str(error))
                self._look_at = 0.0  # a topic may be gone
                stop.wait(TROUBLE_S)
            else:
                if not full:
                    stop.wait(self._settings.projection_interval_s)
        return 0

    def run_once(self) -> None:
        """Read up to where the topics end now. Raises `RetriableError`."""
        self._look(self._clock())
        ends = self._reader.ends(self._next.keys(), committed=True)
        while any(self._next.get(source, 0) < end for source, end in ends.items()):
            self.turn()
        self.tell()

    def rebuild(self, why: Why = "asked") -> None:
        """Throw the file away and begin at the beginning of the topics."""
        self.writer.discard(why)
        self._count_discarded(why)
        self._begin_anew()

    def turn(self) -> bool:
        """Read and write once; whether there is more to read at once. Raises `RetriableError`.

        A file that turns out to be broken is thrown away, and an empty one is there.
        """
        try:
            return self._turn(self._clock())
        except sqlite3.DatabaseError as error:
            mendable(self.path, error)
            self.rebuild("corrupt")
            return True

    def _turn(self, now: float) -> bool:
        if now >= self._look_at:
            with _patiently():
                self._look(now)
        asked = self._records
        slices = self._reader.read_many(self._next, asked)
        self._answered_at = now
        count = self._write(slices, now)
        if now >= self._tell_at:
            self.tell()
        if self.writer.is_full or now >= self._sweep_at:
            self.writer.sweep(now)
            self._sweep_at = now + SWEEP_S
        return count >= asked

    def _write(self, slices: dict[TopicPartition, LogSlice], now: float) -> int:
        batch, positions, size = Batch(self._settings.topics), dict[TopicPartition, int](), 0
        for source, part in slices.items():
            if part.next_offset != self._next.get(source):
                positions[source] = part.next_offset
            for message in part.messages:
                batch.add(message)
                size += len(message.value or b"")
            if part.messages:
                self._telemetry.count(
                    "caseworks_projection_records_total", len(part.messages), topic=source.topic
                )
        if not positions:
            return 0
        batch.finish()
        for (topic, reason), n in batch.skipped.items():
            log.warning("records that cannot be read", topic=topic, reason=reason, count=n)
            self._telemetry.count(
                "caseworks_projection_skipped_total", n, topic=topic, reason=reason
            )
        self.writer.write(batch, positions, now)
        self._next.update(positions)
        if batch.count:
            fit = int(BYTES_WANTED * batch.count / max(1, size))
            self._records = max(RECORDS_MIN, min(RECORDS_MAX, 2 * self._records, fit))
        return batch.count

    # --- where to read

    def _look(self, now: float) -> None:
        """Find topics that are new, and refuse to go on with those that are not the same."""
        settings, counts = self._settings, partition_counts(self._broker)
        topics = settings.topics
        named = [topics.cases, topics.approvals, topics.letter_audit, topics.control]
        named += [topics.feedback] if topics.feedback in counts else []
        named += [*results_topics(counts, topics), *dead_letter_topics(counts, topics)]
        sources = partitions_of(counts, named)
        why = self._doubt(named, [each for each in sources if each not in self._next])
        if why is not None:
            self.rebuild(why)
        self._identify(named)
        for gone in self._next.keys() - set(sources):  # its topic was deleted: so be it
            del self._next[gone]
        for source in sources:
            if source not in self._next:
                self._next[source] = self.writer.positions.get(source, 0)
                self._whole_at[source] = now
        self._look_at = now + LOOK_S

    def _doubt(self, topics: list[str], fresh: list[TopicPartition]) -> Why | None:
        """Why the positions of the file are not meant for these topics."""
        known = self.writer.identities
        if any(known.get(topic, found) != found for topic, found in self._found(topics).items()):
            return "topic"
        stored = {
            each: self.writer.positions[each] for each in fresh if each in self.writer.positions
        }
        if not stored:
            return None
        bounds = self._reader.bounds(stored.keys())
        if any(position > bounds[source][1] for source, position in stored.items()):
            return "topic"
        if any(position < bounds[source][0] for source, position in stored.items()):
            return "retention"
        return None

    def _found(self, topics: list[str]) -> dict[str, str]:
        admin = self._broker.admin()
        try:
            return {topic: admin.identity(topic) for topic in topics}
        finally:
            admin.close()

    def _identify(self, topics: list[str]) -> None:
        new = [topic for topic in topics if topic not in self.writer.identities]
        if new:
            self.writer.identify(self._found(new))

    def _begin_anew(self) -> None:
        self.caught_up = False
        self._next.clear()
        self._whole_at.clear()
        self._look_at = 0.0

    def _count_discarded(self, why: Why) -> None:
        self._telemetry.count("caseworks_projection_rebuilds_total", reason=why)

    # --- how far it is

    def tell(self) -> None:
        """Say how far behind this is: in the file, and in metrics."""
        if not self._next:
            return
        now = self._clock()
        ends = self._reader.ends(self._next.keys(), committed=True)
        seconds, records = 0.0, 0
        for source, end in ends.items():
            left = end - self._next[source]
            if left <= 0:
                self._whole_at[source] = now
                continue
            records += left
            seconds = max(seconds, now - self._whole_at[source])
        self.behind = records
        self.caught_up = self.caught_up or records <= RECORDS_MAX
        self.writer.mark(
            {"records": records, "seconds": round(seconds, 3), "at": now}, caught_up=self.caught_up
        )
        self._telemetry.set("caseworks_projection_behind_records", records)
        self._telemetry.set("caseworks_projection_behind_seconds", seconds)
        self._tell_at = now + TELL_S


@contextmanager
def _patiently() -> Iterator[None]:
    """While this runs, a broker that cannot be asked is one that comes back."""
    try:
        yield
    except SetupError as error:
        raise RetriableError(str(error)) from error
