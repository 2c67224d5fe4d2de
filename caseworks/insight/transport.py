"""Faust's consumer where it loses records: what it reads, when it seeks, and when it commits.

- Only what was committed is read.
- Nothing is delivered while it seeks after recovery. Faust lets records flow before: what still
  stands in a queue is cleared when the flow is resumed, and is dropped as read when it comes again.
- A position is committed once the broker has every row written so far. Faust's own flush gives up
  when nothing was sent for 0.1 s, and does not see that a row could not be written.
"""

from __future__ import annotations

import asyncio
from typing import Any

from events.errors import SetupError


class Written:
    """The rows on their way to the changelogs."""

    def __init__(self) -> None:
        self._open: set[asyncio.Future[Any]] = set()
        self._error: BaseException | None = None

    def add(self, row: asyncio.Future[Any]) -> None:
        """A row was given to the producer."""
        self._open.add(row)
        row.add_done_callback(self._done)

    def fail(self, error: BaseException) -> None:
        """Nothing is whole any more: `wait` raises this from now on."""
        self._error = self._error or error

    async def wait(self) -> None:
        """Until the broker has every row so far; raises why one was not written, ever after."""
        if self._open:
            await asyncio.wait(set(self._open))
        if self._error is not None:
            raise self._error

    def _done(self, row: asyncio.Future[Any]) -> None:
        self._open.discard(row)
        error = RuntimeError("a row was not sent") if row.cancelled() else row.exception()
        if error is not None:
            self.fail(error)


def transport_of(written: Written) -> Any:
    """The class of such a transport; it waits for *written*."""
    from faust.transport.drivers import aiokafka as driver

    class CommittedThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
        """Reads what was committed; Faust does so under `exactly_once` only."""

        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            if not hasattr(consumer, "_isolation_level"):
                raise SetupError(
                    "this version of aiokafka keeps its isolation level elsewhere",
                    hint="install the versions of requirements.lock",
                )
            consumer._isolation_level = "read_committed"  # noqa: SLF001 - it has no other door
            return consumer

    class CommittedConsumer(driver.Consumer):  # type: ignore[misc]
        def _new_consumer_thread(self) -> Any:
            return CommittedThread(self, loop=self.loop, beacon=self.beacon)

        async def perform_seek(self) -> None:
            self.stop_flow()  # after recovery it still flows; whoever seeks resumes it
            await super().perform_seek()

        async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
            # Faust counts the record behind a gap as part of it: as read before it was
            await super()._add_gap(tp, offset_from, offset_to - 1)

        async def _commit_offsets(self, *args: Any, **kwargs: Any) -> bool:
            await written.wait()
            done: bool = await super()._commit_offsets(*args, **kwargs)
            return done

    class CommittedTransport(driver.Transport):  # type: ignore[misc]
        Consumer = CommittedConsumer

    return CommittedTransport
