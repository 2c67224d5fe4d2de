"""One agent as it runs in a process: a real event loop in a thread, a producer that remembers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agents.agent import Agent
from agents.executor import EventLoopThread, ThreadedExecutor
from agents.job import Desk
from agents.limits.dependencies import Dependencies
from agents.services import Services, WorkLimits
from agents.stack import handler_of
from agents.threads import DaemonThreads
from events.broker import Producer
from events.loop import Job, Settled
from schemas.base import instant
from schemas.outcome import Outcome
from schemas.task import Task
from tests.unit.workbench import Answer, Recorder, Ticket, a_message, a_task

WAIT_S = 10.0


def until(true: Callable[[], object], wait_s: float = WAIT_S) -> None:
    ends = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.005)


class Shop:
    """One agent on a real event loop in a thread."""

    def __init__(self, function: Callable[..., Any], producer: Producer, **work: Any) -> None:
        self.host = EventLoopThread()
        self.threads = DaemonThreads()
        services = Services(
            producer=producer,
            now=time.time,
            dependencies=Dependencies(time.monotonic),
            threads=self.threads,
            limits=WorkLimits(**{"grace_s": 0.1, **work}),
        )
        self.agent = Agent.from_function(function)
        self.desk = Desk(self.agent, services, handler_of())
        self.executor = ThreadedExecutor(self.desk, self.host)

    def start(self, n: int = 1, **fields: Any) -> None:
        task = now_task(self.agent.name, **fields)
        self.executor.start([Job(a_message(task, offset=offset)) for offset in range(n)])

    def collect(self, n: int) -> list[Settled]:
        settled: list[Settled] = []

        def enough() -> bool:
            settled.extend(self.executor.collect(0.05))
            return len(settled) >= n

        until(enough)
        return settled


def now_task(agent: str, **fields: Any) -> Task:
    return a_task(agent, deadline=instant(time.time() + 3600), **fields)


@contextmanager
def shop(
    function: Callable[..., Any], producer: Producer | None = None, **work: Any
) -> Iterator[Shop]:
    made = Shop(function, producer or Recorder(), **work)
    try:
        yield made
    finally:
        made.executor.close()
        made.host.close()


async def quick(ticket: Ticket) -> Answer:
    await asyncio.sleep(0)
    return Answer(text=threading.current_thread().name)


def outcomes(recorder: Recorder) -> list[Outcome]:
    return [Outcome.from_json(record.value or b"") for record in recorder.records]
