"""A producer without transactions: idempotent, thread-safe, bounded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from events.broker import DeliveryReport, Record
from events.errors import RetriableError
from events.kafka.config import Config
from events.kafka.errors import cause, translate, translated

WHERE = "producer"
PROMPT_MAX = 8
"""Records on their way at once before the next ones wait for company."""


class KafkaProducer:
    """See `events.broker.Producer`. Whoever produces also polls; nothing does it behind."""

    def __init__(self, config: Config) -> None:
        with translated(WHERE):
            self._client = ck.Producer(config)

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        topic, key, value, headers, partition = record
        report = None if on_delivery is None else _reporting(on_delivery)
        try:
            self._client.produce(
                topic,
                value,
                key,
                -1 if partition is None else partition,
                report,
                None,
                0,
                list(headers),
            )
        except BufferError:
            raise RetriableError(f"{WHERE}, {topic}: the queue is full", hint="poll") from None
        except KafkaException as exception:
            raise translate(cause(exception), f"{WHERE}, {topic}") from exception

    @property
    def waiting(self) -> int:
        """Records that are not reported yet."""
        return len(self._client)

    def poll(self) -> None:
        with translated(WHERE):  # a fatal error comes out of whatever call serves callbacks
            self._client.poll(0)

    def flush(self, timeout_s: float) -> int:
        with translated(WHERE):
            return int(self._client.flush(timeout_s))

    def close(self) -> None:
        with suppress(RuntimeError, KafkaException):  # closed already; fatal before
            self._client.purge(in_queue=True, in_flight=True, blocking=False)
        with suppress(KafkaException):  # a fatal error is said once more, after it was closed
            self._client.close()


class EagerProducer:
    """See `events.broker.Producer`: prompt when there is little to send, else in bulk.

    A few records go at once; while those are on their way, the others wait some milliseconds for
    company. That halves the time of a lone case and the broker's work under load, at the price of
    order: two records of one partition may overtake each other.
    """

    def __init__(self, prompt: Config, bulk: Config) -> None:
        self._prompt = KafkaProducer(prompt)
        self._bulk_config = bulk
        self._bulk: KafkaProducer | None = None
        """Made when first needed: a worker that never has much to do keeps one client."""

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        waiting = self._prompt.waiting + (self._bulk.waiting if self._bulk else 0)
        if waiting < PROMPT_MAX:
            self._prompt.produce(record, on_delivery)
            return
        if self._bulk is None:
            self._bulk = KafkaProducer(self._bulk_config)
        self._bulk.produce(record, on_delivery)

    def poll(self) -> None:
        for each in self._clients():
            each.poll()

    def flush(self, timeout_s: float) -> int:
        return sum(each.flush(timeout_s) for each in self._clients())

    def close(self) -> None:
        for each in self._clients():
            each.close()

    def _clients(self) -> list[KafkaProducer]:
        return [self._prompt] if self._bulk is None else [self._prompt, self._bulk]


def _reporting(on_delivery: DeliveryReport) -> Callable[[KafkaError | None, Any], None]:
    def report(error: KafkaError | None, message: Any) -> None:
        if error is None:
            on_delivery(None)
        else:
            on_delivery(translate(error, f"{WHERE}, {message.topic()}"))

    return report
