"""Writing to Kafka from an event loop: one producer for all requests, each awaits its own report.

The producer is polled by a task of the loop while something is on its way, so that its reports
come on the loop's own thread: no lock, no call from thread to thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from caseworks.api.problems import unavailable
from events.broker import Broker, Producer, Record
from events.errors import BrokerError, FatalBrokerError, RetriableError
from events.logs import get_logger

POLL_S = 0.001
"""How long the loop leaves the producer alone: what comes in this time wakes it once."""

log = get_logger(__name__)


class Outbox:
    """Writes records and waits for their acknowledgement. Of one event loop."""

    def __init__(self, broker: Broker, ack_timeout_s: float) -> None:
        self._make: Callable[[], Producer] = broker.producer
        self._producer = self._make()
        self._ack_timeout_s = ack_timeout_s
        self._waiting: set[asyncio.Future[None]] = set()
        self._polling: asyncio.Task[None] | None = None

    @property
    def on_their_way(self) -> int:
        """Requests whose records Kafka has not acknowledged."""
        return len(self._waiting)

    async def send(self, records: Sequence[Record]) -> None:
        """Write the records; returns when Kafka has all of them.

        Raises `Problem` when it does not say so in time: then nobody knows whether it has them.
        """
        if not records:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(records)

        def report(error: Exception | None) -> None:
            nonlocal left
            left -= 1
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            elif left == 0:
                done.set_result(None)

        self._waiting.add(done)
        try:
            for record in records:
                self._produce(record, report)
            self._poll_on()
            async with asyncio.timeout(self._ack_timeout_s):
                await done
        except TimeoutError:
            told = f"Kafka did not acknowledge within {self._ack_timeout_s:g} s: it may have it"
            raise unavailable(f"{told}; send the same again, under the same id") from None
        except BrokerError as error:
            log.warning("api_not_acknowledged", error=str(error))
            if isinstance(error, FatalBrokerError):
                self._renew()
            raise unavailable("Kafka did not take it; send the same again") from None
        finally:
            self._waiting.discard(done)
            if not done.done():
                done.cancel()

    def _produce(self, record: Record, report: Callable[[Exception | None], None]) -> None:
        try:
            self._producer.produce(record, report)
        except RetriableError:
            raise unavailable("too much is on its way to Kafka already") from None

    def _poll_on(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="outbox")

    async def _poll(self) -> None:
        while self._waiting:
            try:
                self._producer.poll()
            except BrokerError as error:
                log.warning("api_producer", error=str(error))
                self._fail(error)
                self._renew()
                return
            await asyncio.sleep(POLL_S)

    def _fail(self, error: BrokerError) -> None:
        for each in self._waiting:
            if not each.done():
                each.set_exception(error)

    def _renew(self) -> None:
        """A producer that failed for good is of no use any more."""
        with suppress(BrokerError):
            self._producer.close()
        self._producer = self._make()

    async def close(self) -> None:
        """Give up what is not acknowledged."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        for each in self._waiting:
            each.cancel()
        self._producer.close()
