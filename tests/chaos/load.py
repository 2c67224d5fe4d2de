"""The client: publishes at a rate, and sees when results come.

It uses the client library as a stranger would, not ours, and reads committed results. What it sees
while the system runs tells latencies and stalls; the account is made later, by another reader.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import confluent_kafka as ck

from events.partitioner import partition_of
from schemas.event import case_id_of
from tests.chaos.silence import Silences
from tests.chaos.workload import SOURCE, Workload

TURN_S = 0.01
BURST_S = 0.1
"""After a wait, at most so much of the rate is caught up at once."""
REPEAT_EVERY = 100
"""Each hundredth event is published twice: the second is no event of its own."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, and how far ahead.

    Args:
        rate: Events a second at most: below what the machine can do, else stalls are its own.
        in_flight_max: Published and not answered; more waits.
    """

    rate: float
    in_flight_max: int = 5000


@dataclass(frozen=True, slots=True)
class Places:
    """Where events go, where results come from, and the partitions of both sides."""

    events: str
    results: tuple[str, ...]
    events_partitions: int
    inbox_partitions: int


@dataclass(slots=True)
class Seen:
    """What the client saw: times of the monotonic clock by event id."""

    sent: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    """Acknowledged."""
    repeated: int = 0
    refused: int = 0
    """Reports of events that Kafka did not take, and that were published again."""

    @property
    def in_flight(self) -> int:
        """Sent and not answered."""
        return len(self.sent) - len(self.answered)


class Load:
    """Publishes until it is told to stop. Owned by its own thread; others read `seen`."""

    def __init__(self, bootstrap: str, workload: Workload, places: Places, pace: Pace) -> None:
        self.seen = Seen()
        self.silences = Silences()
        self.error: BaseException | None = None
        self.goal = 0
        """How many cases to publish; may be raised while it runs."""
        self.endless = False
        """Go on beyond it: faults must meet work."""
        self._workload = workload
        self._places = places
        self.pace = pace
        """May be changed while it runs."""
        self._stop = Event()
        self._again: list[tuple[str, int]] = []
        self._producer = ck.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "log_level": 0,
            }
        )
        self._consumer = ck.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "chaos-client",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        self._thread = Thread(target=self._run, name="load", daemon=True)

    def start(self, results: Collection[ck.TopicPartition]) -> None:
        """Begin, reading these partitions of results."""
        self._consumer.assign(list(results))
        self._thread.start()

    @property
    def all_published(self) -> bool:
        """Whether Kafka has acknowledged as many as wanted."""
        return len(self.seen.published) >= max(self.goal, len(self.seen.sent))

    @property
    def all_answered(self) -> bool:
        """Whether everything that was published has its answer."""
        return self.all_published and not self.seen.in_flight

    def stop(self) -> None:
        """End the thread; raises what it died of."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(30)
            self._consumer.close()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            next_at = time.monotonic()
            while not self._stop.is_set():
                next_at = self._publish_due(next_at)
                self._producer.poll(0)
                self._look()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.error = error
        finally:
            self._producer.flush(10)
            self.silences.close(time.monotonic())

    def _publish_due(self, next_at: float) -> float:
        now = time.monotonic()
        next_at = max(next_at, now - BURST_S)
        again, self._again = self._again, []
        for event_id, number in again:
            self._produce(event_id, number)
        while (
            next_at <= now
            and (self.endless or len(self.seen.sent) < self.goal)
            and self.seen.in_flight < self.pace.in_flight_max
        ):
            number = len(self.seen.sent)
            event_id = f"evt-{number:09d}"
            self.seen.sent[event_id] = now
            self.silences.begun(self._lanes(event_id, number), now)
            self._produce(event_id, number)
            if number % REPEAT_EVERY == 0:
                self.seen.repeated += 1
                self._produce(event_id, number)
            next_at += 1 / self.pace.rate
        return next_at

    def _produce(self, event_id: str, number: int) -> None:
        kind, value = self._workload.event(number, event_id)
        headers: list[tuple[str, str | bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", event_id.encode()),
            ("ce_source", SOURCE.encode()),
            ("ce_type", kind.encode()),
            ("content-type", b"application/json"),
        ]

        def reported(error: Any, _message: Any) -> None:
            if error is None:
                self.seen.published.add(event_id)
            else:
                self.seen.refused += 1
                self._again.append((event_id, number))

        try:
            self._producer.produce(
                self._places.events,
                value,
                event_id.encode(),
                partition=number % self._places.events_partitions,
                headers=headers,
                on_delivery=reported,
            )
        except BufferError:
            self._again.append((event_id, number))

    def _look(self) -> None:
        first = self._consumer.poll(TURN_S)
        if first is None:
            return
        now = time.monotonic()
        for message in [first, *self._consumer.consume(1000, 0)]:
            if message.error() is not None:
                continue
            event_id = (message.key() or b"").decode()
            if event_id in self.seen.sent and event_id not in self.seen.answered:
                self.seen.answered[event_id] = now
                self.silences.ended(self._lanes(event_id, int(event_id[4:])), now)

    def _lanes(self, event_id: str, number: int) -> tuple[tuple[str, int], tuple[str, int]]:
        case_id = case_id_of(SOURCE, event_id)
        home = partition_of(case_id.encode(), self._places.inbox_partitions)
        return ("events", number % self._places.events_partitions), ("inbox", home)
