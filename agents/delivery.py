"""Producing what answers a job, until the broker has acknowledged all of it.

A failed delivery is produced again, with bounded back-off, for as long as the job is wanted: its
offset stays unfinished meanwhile (I2).
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from events.broker import Producer, Record
from events.errors import BrokerError
from events.logs import get_logger

J = TypeVar("J")

BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 5.0

_log = get_logger("caseworks.worker")


class Parcel(Generic[J]):
    """The records that answer one job. `acknowledged` is told of it once, on any thread."""

    __slots__ = ("_acknowledged", "_acks", "_job", "_loop", "_producer", "records", "wanted")

    def __init__(
        self,
        job: J,
        records: Sequence[Record],
        producer: Producer,
        loop: AbstractEventLoop,
        acknowledged: Callable[[J], None],
    ) -> None:
        self.records = records
        self.wanted = True
        """Set to false, it is not produced again."""
        self._job = job
        self._producer = producer
        self._loop = loop
        self._acknowledged = acknowledged
        self._acks: list[None] | None = [] if len(records) > 1 else None

    def send(self) -> None:
        """Produce everything; does not wait. Thread-safe."""
        if self._acks is None:
            self._produce_alone(self.records[0])
        else:
            for record in self.records:
                self._produce(record, BACKOFF_S_MIN)

    def _produce_alone(self, record: Record) -> None:
        """As nearly all are: without a function of its own for the report."""
        try:
            self._producer.produce(record, self._reported)
        except BrokerError as error:
            self._again(record, BACKOFF_S_MIN, error)

    def _reported(self, error: Exception | None) -> None:
        if error is None:
            self._acknowledged(self._job)
        else:
            self._again(self.records[0], BACKOFF_S_MIN, error)

    def _produce(self, record: Record, backoff_s: float) -> None:
        if not self.wanted:
            return

        def reported(error: Exception | None) -> None:
            if error is None:
                self._ack()
            else:
                self._again(record, backoff_s, error)

        try:
            self._producer.produce(record, reported)
        except BrokerError as error:
            self._again(record, backoff_s, error)

    def _ack(self) -> None:
        if self._acks is not None:
            # Reports may come on two threads at once; appending is atomic, adding is not.
            self._acks.append(None)
            if len(self._acks) < len(self.records):
                return
        self._acknowledged(self._job)

    def _again(self, record: Record, backoff_s: float, error: Exception) -> None:
        _log.warning("delivery_failed", topic=record.topic, error=str(error), again_in_s=backoff_s)
        later = min(backoff_s * 2, BACKOFF_S_MAX)
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(
                self._loop.call_later, backoff_s, self._produce, record, later
            )
