"""Makes spans of results as they come, and sends them: at least once, each time the same spans.

Results are read as a group of their own, committed when their spans are sent. Of the changelog it
remembers the last state of each open case; it is read from its beginning at every start, and
always further than the results that were read before, so that nothing that led to them is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from threading import Event
from typing import Protocol

from pydantic import ValidationError

from caseworks.scan import partition_counts, partitions_of, results_topics
from caseworks.tracing.book import Book
from caseworks.tracing.spans import Span, Told, spans_of
from events import metrics
from events.broker import Broker, Consumer, ConsumerSpec, LogReader, Message, TopicPartition
from events.errors import RetriableError, SetupError
from events.logs import get_logger
from events.settings import Settings
from events.trace_ids import TraceParent

RESULTS_MAX = 200
"""Of one turn."""
RECORDS_MAX = 5_000
"""Of one read of the changelog."""
TAKE_S = 0.5
TROUBLE_S = 2.0
"""How long to wait for a broker or a collector that does not answer."""
LOOK_S = 15.0
"""How often results of new workflows are looked for."""

log = get_logger(__name__)


class SpanSender(Protocol):
    """Where spans go."""

    def keeps(self, trace_id: str, parent: TraceParent | None) -> bool:
        """Whether spans of this trace are to be sent."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the other side has them all; may block for seconds."""


class NotSentError(RetriableError):
    """The collector does not take spans."""


class TraceExport:
    """Reads and sends until it is told to stop; used by one thread."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        sender: SpanSender,
        *,
        telemetry: metrics.Telemetry = metrics.NULL,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._sender = sender
        self._telemetry = telemetry
        self._book = Book(settings.trace_cases_max)
        self._next: dict[TopicPartition, int] = {}
        self._forgotten = 0
        self.trouble = "it has not begun"
        """Why nothing is exported now; empty when it is."""

    def ready(self) -> tuple[bool, str]:
        """Whether it exports, and if not, why. From any thread."""
        return not self.trouble, self.trouble or "ready"

    def run(self, stop: Event) -> int:
        """Go on until *stop*; a broker or collector that is away is waited for."""
        while not stop.is_set():
            try:
                self._follow(stop.is_set)
            except (RetriableError, SetupError) as error:
                self.trouble = str(error)
                log.warning("cannot export", error=self.trouble)
                stop.wait(TROUBLE_S)
        return 0

    def run_once(self, quiet_s: float = 1.0) -> None:
        """Export what is there, until nothing has come for so long. Raises `RetriableError`."""
        until = time.monotonic() + quiet_s

        def is_quiet() -> bool:
            return time.monotonic() >= until

        def renew() -> None:
            nonlocal until
            until = time.monotonic() + quiet_s

        self._follow(is_quiet, renew)

    def _follow(self, ended: Callable[[], bool], came: Callable[[], None] = lambda: None) -> None:
        """As a member of the group, until it has ended or other topics are to be read."""
        with ExitStack() as held:
            topics = results_topics(partition_counts(self._broker), self._settings.topics)
            group = f"{self._settings.namespace}.trace"
            spec = ConsumerSpec(group=group, topics=tuple(topics))
            consumer = held.enter_context(closing(self._broker.consumer(spec)))
            reader = held.enter_context(closing(self._broker.reader()))
            self._read_on(reader)
            look_at = time.monotonic() + LOOK_S
            self.trouble = ""
            while not ended() and (topics or time.monotonic() < look_at):
                if self._turn(consumer, reader):
                    came()
                if time.monotonic() >= look_at:
                    if (
                        results_topics(partition_counts(self._broker), self._settings.topics)
                        != topics
                    ):
                        return
                    look_at = time.monotonic() + LOOK_S

    def _turn(self, consumer: Consumer, reader: LogReader) -> bool:
        messages = consumer.take(RESULTS_MAX, TAKE_S).messages
        self._read_on(reader)
        if not messages:
            return False
        found = [told for message in messages if (told := self._told(message)) is not None]
        kept = [told for told in found if self._sender.keeps(told.trace_id, told.parent)]
        spans = [span for told in kept for span in spans_of(told)]
        if spans and not self._sender.send(spans):
            self._telemetry.count("caseworks_trace_refused_total")
            raise NotSentError("the collector does not take spans")
        self._telemetry.count("caseworks_trace_spans_total", len(spans))
        consumer.commit({each.source: each.offset + 1 for each in messages})
        for told in found:
            self._book.done(told.result.case_id)
        return True

    def _told(self, message: Message) -> Told | None:
        try:
            return self._book.told(message)
        except ValidationError as error:
            self._telemetry.count("caseworks_trace_skipped_total")
            log.warning(
                "no result",
                topic=message.topic,
                offset=message.offset,
                error=error.errors()[0]["type"],
            )
            return None

    def _read_on(self, reader: LogReader) -> None:
        """Read the changelog to its end as of now."""
        if not self._next:
            counts = partition_counts(self._broker)
            self._next = dict.fromkeys(partitions_of(counts, [self._settings.topics.cases]), 0)
        ends = reader.ends(self._next.keys(), committed=True)
        while behind := {s: at for s, at in self._next.items() if at < ends[s]}:
            for source, part in reader.read_many(behind, RECORDS_MAX).items():
                for message in part.messages:
                    self._book.add(message)
                self._next[source] = max(self._next[source], part.next_offset)
        if self._book.forgotten > self._forgotten:
            self._telemetry.count(
                "caseworks_trace_forgotten_total", self._book.forgotten - self._forgotten
            )
            self._forgotten = self._book.forgotten
