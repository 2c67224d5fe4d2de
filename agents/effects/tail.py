"""Reads and writes the ledger of effects for one process, when somebody asks.

One reader for all partitions, in a thread of its own, never at two things at once. What is asked
meanwhile is done in its next turn, together: under load one read serves many claims. Nothing is
read while nobody asks, so a process without effects has neither a reader nor a memory of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from agents.effects.states import KNOWN_MAX, EffectLog, Standing, Verdict, looked_up
from events.broker import LogReader, Message, Producer, Record, TopicPartition
from events.errors import BrokerError, RetriableError
from events.logs import get_logger

POLL_S = 0.002
"""How often delivery reports are fetched while some are missing."""
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 2.0
SLICE = 10_000

T = TypeVar("T")
Work = Callable[[LogReader], Any]
_log = get_logger("caseworks.effects")


class Tail:
    """The ledger as one process sees it. Used on one event loop; threads are its own affair.

    Args:
        topic: `{ns}.effects`.
        reader: Makes the reader, when it is first needed.
        producer: Shared with others; thread-safe.
        threads: Where the reader works: `run` of `agents.services.Threads`.
        known_max: Effects that are remembered of each partition.
    """

    def __init__(
        self,
        topic: str,
        reader: Callable[[], LogReader],
        producer: Producer,
        threads: Any,
        known_max: int = KNOWN_MAX,
    ) -> None:
        self._topic = topic
        self._make_reader = reader
        self._producer = producer
        self._threads = threads
        self._known_max = known_max
        self._reader: LogReader | None = None
        self._logs: dict[int, EffectLog] = {}
        """Of partitions that were read to their end once."""
        self._begun: dict[int, EffectLog] = {}
        self._asked: dict[int, list[asyncio.Future[None]]] = {}
        """Who waits for a partition to be read to its end."""
        self._errands: deque[tuple[Work, asyncio.Future[Any]]] = deque()
        self._claims: dict[str, asyncio.Future[Verdict]] = {}
        self._verdicts: deque[Verdict] = deque()
        """Read, and not told yet."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._serving = False
        self._unacknowledged = 0

    # --- asking

    async def standing(self, partition: int, effect_id: str) -> Standing:
        """An effect's state: certain when it is done, else as of a moment ago.

        What is not done is looked at anew; what is free has been at some time since the start.
        """
        log = self._logs.get(partition)
        known = log.standing(effect_id) if log is not None else None
        if log is None or (known is not None and known.state in ("claimed", "over")):
            await self._caught_up(partition)
            known = self._logs[partition].standing(effect_id)
        if known is None:
            known = await self._on_an_errand(partial(self._look_up, partition, effect_id))
        return known

    async def claim(self, record: Record, nonce: str) -> Verdict:
        """Produce a claim until it is acknowledged, and read on until it is seen."""
        assert record.partition is not None
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._claims[nonce] = verdict
        try:
            await self.write(record)
            await self._caught_up(record.partition)
            while not verdict.done():
                await asyncio.sleep(BACKOFF_S_MIN)
                await self._caught_up(record.partition)
            return verdict.result()
        finally:
            del self._claims[nonce]

    async def load(self, partition: int, offset: int) -> Message | None:
        """One record; `None` when retention has deleted it."""

        def read(reader: LogReader) -> Message | None:
            found = reader.read(TopicPartition(self._topic, partition), offset, 1).messages
            return found[0] if found and found[0].offset == offset else None

        message: Message | None = await self._on_an_errand(read)
        return message

    # --- writing

    async def write(self, record: Record) -> None:
        """Produce a record again and again until the broker has acknowledged it."""
        backoff_s = BACKOFF_S_MIN
        while (error := await self._produced(record)) is not None:
            _log.warning("effect_not_written", topic=record.topic, error=str(error))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)

    def aside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Go on with it even if who asked is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda ended: self._tasks.pop(ended, None))
        return task

    def close(self) -> None:
        """Free the reader; when nothing runs any more."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def _produced(self, record: Record) -> Exception | None:
        loop = asyncio.get_running_loop()
        reported: asyncio.Future[Exception | None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if not reported.done():
                reported.set_result(error)

        def report(error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, error)

        try:
            self._producer.produce(record, report)
        except BrokerError as error:
            return error
        self._unacknowledged += 1
        if self._unacknowledged == 1:
            loop.call_soon(self._poll, loop)
        try:
            return await reported
        finally:
            self._unacknowledged -= 1

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._unacknowledged:
            self._producer.poll()
            loop.call_later(POLL_S, self._poll, loop)

    # --- the reader's turns

    async def _caught_up(self, partition: int) -> None:
        """Read a partition up to where it ends by now, or later."""
        read = asyncio.get_running_loop().create_future()
        self._asked.setdefault(partition, []).append(read)
        self._serve()
        await read

    async def _on_an_errand(self, work: Work) -> Any:
        done = asyncio.get_running_loop().create_future()
        self._errands.append((work, done))
        self._serve()
        return await done

    def _serve(self) -> None:
        if not self._serving:
            self._serving = True
            self.aside(self._turns())

    async def _turns(self) -> None:
        backoff_s = BACKOFF_S_MIN
        try:
            while self._asked or self._errands:
                asked, self._asked = self._asked, {}
                errands = [each for each in self._errands if not each[1].done()]
                self._errands.clear()
                answers = await self._turn(asked, [work for work, _ in errands])
                if answers is None:
                    for partition, reads in asked.items():
                        waiting = [read for read in reads if not read.done()]
                        if waiting:
                            self._asked.setdefault(partition, []).extend(waiting)
                    self._errands.extend(errands)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
                    continue
                backoff_s = BACKOFF_S_MIN
                for read in (read for reads in asked.values() for read in reads):
                    _answer(read, None)
                for (_, done), answer in zip(errands, answers, strict=True):
                    _answer(done, answer)
        finally:
            self._serving = False

    async def _turn(self, asked: dict[int, Any], errands: list[Work]) -> list[Any] | None:
        """Do it all, in a thread; `None` when the broker did not answer."""
        try:
            answers: list[Any] = await self._threads.run(partial(self._work, list(asked), errands))
        except BrokerError as error:
            _log.warning("effects_not_read", topic=self._topic, error=str(error))
            if not isinstance(error, RetriableError):
                self.close()
            return None
        finally:
            while self._verdicts:
                verdict = self._verdicts.popleft()
                if (claim := self._claims.get(verdict.nonce)) is not None:
                    _answer(claim, verdict)
        return answers

    def _work(self, partitions: list[int], errands: list[Work]) -> list[Any]:
        """What the reader's thread does; nobody else touches the logs meanwhile but to look."""
        reader = self._reader = self._reader or self._make_reader()
        self._catch_up(reader, partitions)
        return [work(reader) for work in errands]

    def _catch_up(self, reader: LogReader, partitions: list[int]) -> None:
        for partition in partitions:
            if partition not in self._logs and partition not in self._begun:
                self._begun[partition] = EffectLog(self._known_max)
        logs = {p: (self._logs if p in self._logs else self._begun)[p] for p in partitions}
        by_source = {TopicPartition(self._topic, p): log for p, log in logs.items()}
        ends = reader.ends(by_source.keys(), committed=True)
        while behind := {
            source: log.position for source, log in by_source.items() if log.position < ends[source]
        }:
            for source, found in reader.read_many(behind, SLICE).items():
                log = by_source[source]
                unread = log.unread
                self._verdicts.extend(log.learn(found.messages, self._claims))
                log.position = max(log.position, found.next_offset)
                if log.unread > unread:
                    _log.error("effect_unread", partition=source.partition, count=log.unread)
        self._logs |= logs
        for partition in partitions:
            self._begun.pop(partition, None)

    def _look_up(self, partition: int, effect_id: str, reader: LogReader) -> Standing:
        _log.info("effect_looked_up", effect_id=effect_id, remembered=self._known_max)
        return looked_up(self._messages(partition, reader), effect_id)

    def _messages(self, partition: int, reader: LogReader) -> Iterator[Message]:
        source, end = TopicPartition(self._topic, partition), self._logs[partition].position
        position = reader.beginning(source)
        while position < end:
            found = reader.read(source, position, SLICE)
            yield from (each for each in found.messages if each.offset < end)
            if found.next_offset <= position:
                return
            position = found.next_offset


def _answer(future: asyncio.Future[T], answer: T) -> None:
    if not future.done():
        future.set_result(answer)
