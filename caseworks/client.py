"""For services around Caseworks: publish business events, subscribe to results."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from caseworks.tracing.context import current_traceparent
from events.broker import Broker, Consumer, ConsumerSpec, Message, Producer, TopicPartition
from events.envelope import event_record
from events.errors import RetriableError, SetupError
from events.settings import Settings, load_settings
from schemas.base import instant
from schemas.event import Event, Priority
from schemas.result import Result

FLUSH_TIMEOUT_S = 30.0
"""How long `publish` waits for Kafka to acknowledge."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A result with what its envelope says: `type` is what services switch on."""

    type: str
    id: str
    result: Result


class Publisher:
    """Publishes events and waits for their acknowledgement. Thread-safe."""

    def __init__(self, broker: Broker, settings: Settings) -> None:
        """One producer, kept until `close`."""
        self._topic = settings.topics.events
        self._producer: Producer = broker.producer()
        self._failed: list[Exception] = []

    def send(self, event: Event) -> str:
        """Queue an event; returns its case id. Waits only while the producer's queue is full."""
        record = event_record(event, self._topic, to_json(event.data))
        while True:
            try:
                self._producer.produce(record, self._report)
                break
            except RetriableError:
                self._producer.flush(0.1)
        return event.case_id

    def flush(self) -> None:
        """Wait for every acknowledgement. Raises `SetupError` when some did not come."""
        missing = self._producer.flush(FLUSH_TIMEOUT_S)
        failed, self._failed = self._failed, []
        if missing or failed:
            why = f": {failed[0]}" if failed else ""
            raise SetupError(
                f"{missing + len(failed)} events were not acknowledged{why}",
                hint="caseworks doctor",
            )

    def close(self) -> None:
        """Free the producer."""
        self._producer.close()

    def _report(self, error: Exception | None) -> None:
        if error is not None:
            self._failed.append(error)


class Subscription:
    """Results as they are published, read committed; each is acknowledged by asking for the next.

    A service that dies before it asks for the next one gets the same result again: handle them
    idempotently by `Delivered.id`.
    """

    def __init__(self, broker: Broker, settings: Settings, workflow: str, group: str) -> None:
        """*group* names the subscribing service: its members share the results."""
        spec = ConsumerSpec(group=group, topics=(settings.topics.results(workflow),))
        self._consumer: Consumer = broker.consumer(spec)
        self._left: deque[Message] = deque()
        """Taken and not asked for yet: they outlive a loop that was left."""

    def __iter__(self) -> Iterator[Delivered]:
        """Wait for results for ever."""
        while True:
            yield from self.take(timeout_s=1.0)

    def take(self, timeout_s: float, n: int = 100) -> Iterator[Delivered]:
        """Up to `n` results that are there within `timeout_s`."""
        if not self._left:
            self._left.extend(self._consumer.take(n, timeout_s).messages)
        for _ in range(min(n, len(self._left))):
            message = self._left[0]
            yield delivered(message)
            if self._left and self._left[0] is message:
                self._left.popleft()
                source = TopicPartition(message.topic, message.partition)
                self._consumer.commit({source: message.offset + 1})

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def delivered(message: Message) -> Delivered:
    """The result in a record. Raises `pydantic.ValidationError`."""
    return Delivered(
        type=message.header("ce_type") or "",
        id=message.header("ce_id") or "",
        result=Result.from_json(message.value or b""),
    )


def new_event(  # noqa: PLR0913 - the attributes of an event
    type: str,
    data: Mapping[str, Any],
    *,
    id: str | None = None,
    source: str = "caseworks/client",
    subject: str | None = None,
    tenant: str | None = None,
    priority: Priority = "normal",
    traceparent: str | None = None,
) -> Event:
    """A business event that happened now; without an id it gets a random one.

    Its case belongs to the OpenTelemetry trace of the current span, if there is one, or to that of
    `traceparent` (W3C), else to a trace of its own.
    """
    return Event(
        id=id or str(uuid4()),
        source=source,
        type=type,
        subject=subject,
        time=instant(time()),
        data=dict(data),
        tenant=tenant,
        priority=priority,
        traceparent=traceparent or current_traceparent(),
    )


def publish(event: Event, *, broker: Broker | None = None, settings: Settings | None = None) -> str:
    """Publish one event and wait until Kafka has it; returns the id of its case.

    For many events keep a `Publisher`. Raises `SetupError` when the broker is not there.
    """
    from caseworks.compose import connect

    settings = settings or load_settings()
    publisher = Publisher(broker or connect(settings), settings)
    try:
        case_id = publisher.send(event)
        publisher.flush()
    finally:
        publisher.close()
    return case_id


def subscribe(
    workflow: str,
    *,
    group: str,
    broker: Broker | None = None,
    settings: Settings | None = None,
) -> Subscription:
    """Follow a workflow's results.

    Example: `for got in subscribe("ticket", group="crm"): update(got.result)`
    """
    from caseworks.compose import connect

    settings = settings or load_settings()
    return Subscription(broker or connect(settings), settings, workflow, group)
