"""A small at-least-once worker with agents as coroutines, for the simulation driver's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from events import loop as op
from events.broker import ConsumerSpec, Message, Record, Taken, TopicPartition
from events.dispatch import Handles
from events.errors import FencedError, RetriableError
from events.memory import HARSH, Faults
from events.sim_actors import Incarnation, Program
from events.sim_driver import Run, SimDriver
from events.topics import TopicSpec

TASKS = 6
WORK_S = 1.5


class Agents:
    """An executor: one coroutine a job, settled when its outcome is acknowledged."""

    def __init__(self, life: Incarnation) -> None:
        self.life = life
        self.producer = life.broker.producer()
        self.settled: list[op.Settled] = []
        self.running: dict[asyncio.Task[None], TopicPartition] = {}

    def start(self, jobs: Sequence[op.Job]) -> None:
        for job in jobs:
            task = self.life.event_loop.create_task(self.work(job.message))
            self.running[task] = job.message.source
            task.add_done_callback(lambda task: self.running.pop(task, None) and None)

    async def work(self, message: Message) -> None:
        await asyncio.sleep(WORK_S)
        acknowledged: asyncio.Future[bool] = self.life.event_loop.create_future()
        while not acknowledged.done() or not acknowledged.result():
            acknowledged = self.life.event_loop.create_future()
            self.producer.produce(
                Record("outcomes", message.key, message.value), partial(_report, acknowledged)
            )
            await acknowledged
        self.settled.append(op.Settled(message.source, message.offset, message.epoch))

    answered = 0

    def collect(self, timeout_s: float) -> Sequence[op.Settled]:
        settled, self.settled = self.settled, []
        return settled

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        for task, source in self.running.items():
            if source in partitions:
                task.cancel()

    def close(self) -> None:
        for task in self.running:
            task.cancel()


def _report(acknowledged: asyncio.Future[bool], error: Exception | None) -> None:
    if not acknowledged.done():
        acknowledged.set_result(error is None)


class Worker:
    """Takes one task at a time from each partition and commits it when it is settled.

    `hasty`: commits when it starts the task, as at-most-once systems do.
    """

    def __init__(self, *, hasty: bool) -> None:
        self.hasty = hasty
        self.in_flight: dict[tuple[TopicPartition, int], int] = {}
        self.revoked: list[frozenset[TopicPartition]] = []

    def run(self) -> op.Loop:
        while True:
            taken: Taken | op.Revoking = yield op.Take(10, 0.05)
            if isinstance(taken, op.Revoking):
                self.revoked.append(taken.partitions)
                yield from self.collect()
                yield op.Discard(taken.partitions)
                continue
            self.in_flight = {k: e for k, e in self.in_flight.items() if k[0] in taken.assignment}
            for message in taken.messages:
                self.in_flight[message.source, message.offset] = message.epoch
                if self.hasty:
                    yield from self.commit({message.source: message.offset + 1})
            yield op.Start([op.Job(message) for message in taken.messages])
            yield from self.collect()

    def collect(self) -> Generator[op.Operation, Any, None]:
        for settled in (yield op.Collect(0.01)):
            if self.in_flight.get((settled.source, settled.offset)) == settled.epoch:
                del self.in_flight[settled.source, settled.offset]
        before: dict[TopicPartition, int] = {}
        for source, offset in self.in_flight:
            before[source] = min(before.get(source, offset), offset)
        if before and not self.hasty:
            yield from self.commit(before)

    def commit(self, positions: dict[TopicPartition, int]) -> Generator[op.Operation, Any, None]:
        while True:
            try:
                yield op.CommitOffsets(positions)
            except RetriableError:
                continue
            except FencedError:
                return
            return


def system(seed: int, *, hasty: bool = False, faults: Faults = HARSH, **options: Any) -> SimDriver:
    """Two workers under faults, and some tasks."""
    driver = SimDriver(seed, faults=faults, **options)
    driver.broker.admin().create([TopicSpec(name, "task", 2, "") for name in ("tasks", "outcomes")])

    def boot(life: Incarnation) -> list[Program]:
        consumer = life.broker.consumer(ConsumerSpec("workers", ("tasks",)))
        handles = Handles(life.broker, life.clock, consumer, executor=Agents(life))
        return [Program(Worker(hasty=hasty).run(), handles, wants_revoking=True)]

    driver.add("w0", boot)
    driver.add("w1", boot)
    producer = driver.broker.producer()
    for number in range(TASKS):
        record = Record("tasks", b"%d" % number, b"work")
        driver.after(0.5 * number, "publish", partial(producer.produce, record))
    return driver


def done(driver: SimDriver) -> set[bytes | None]:
    """The tasks that have an outcome."""
    return {
        message.key
        for partition in range(2)
        for message in driver.broker.log(TopicPartition("outcomes", partition))
        .read(0, 1000)
        .messages
    }


def finish(driver: SimDriver) -> Run:
    """Run until every task has an outcome, or nothing happens any more."""
    return driver.run(lambda: len(done(driver)) == TASKS)
