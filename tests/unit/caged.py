"""An agent in processes of its own, on the event loop of a worker: real children, no broker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.executor import EventLoopThread, ThreadedExecutor
from agents.job import Desk
from agents.limits.dependencies import Dependencies
from agents.processes.pool import Processes
from agents.services import Services, WorkLimits
from agents.stack import handler_for
from agents.threads import DaemonThreads
from events.loop import Job
from events.metrics import Prometheus
from schemas.base import instant
from schemas.outcome import Outcome
from tests.unit.workbench import Recorder, a_message, a_task

WAIT_S = 30.0


def until(true: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Poll until it is true."""
    ends = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        return state != "Z"
    return False


class Yard:
    """One agent, its pool and a worker's event loop."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.telemetry = Prometheus()
        self.host = EventLoopThread(telemetry=self.telemetry)
        self.recorder = Recorder()
        self.agent = Agent.from_function(
            function, **{"runs_in": "process", "processes_max": 1, "tries_max": 1, **options}
        )
        limits = WorkLimits(grace_s=0.5)
        self.processes = Processes([self.agent], limits.output_bytes_max, self.telemetry)
        services = Services(
            producer=self.recorder,
            now=time.time,
            dependencies=Dependencies(time.monotonic),
            threads=DaemonThreads(),
            processes=self.processes,
            telemetry=self.telemetry,
            limits=limits,
        )
        desk = Desk(self.agent, services, handler_for(self.agent, services))
        self.executor = ThreadedExecutor(desk, self.host)
        self.host.loop.call_soon_threadsafe(self.processes.start)

    def start(self, what: str, *, timeout_s: float = 20.0, **fields: Any) -> None:
        """Begin a task."""
        data = {"what": what, "file": fields.pop("file", None)}
        deadline = instant(time.time() + 3600)
        given = {"data": data, "timeout_s": timeout_s, "deadline": deadline, **fields}
        self.executor.start([Job(a_message(a_task(self.agent.name, **given)))])

    def outcomes(self, n: int) -> list[Outcome]:
        """The first *n* outcomes, when they are there."""

        def enough() -> bool:
            self.executor.collect(0.05)
            return len(self.recorder.records) >= n

        until(enough)
        return [Outcome.from_json(record.value or b"") for record in self.recorder.records]

    def run(self, what: str, **fields: Any) -> Outcome:
        """One task, to its outcome."""
        before = len(self.recorder.records)
        self.start(what, **fields)
        return self.outcomes(before + 1)[-1]

    def said(self, what: str, **fields: Any) -> tuple[str, str, str]:
        """Status, kind and message of a task's outcome."""
        outcome = self.run(what, **fields)
        error = outcome.error
        return outcome.status, error.kind if error else "", error.message if error else ""

    def pid(self) -> int:
        """The child that works now."""
        return int(self.run("who").output["text"])


@contextmanager
def yard(function: Callable[..., Any], **options: Any) -> Iterator[Yard]:
    """It, for a while; nothing of it lives on."""
    made = Yard(function, **options)
    try:
        yield made
    finally:
        made.executor.close()
        assert made.host.close(timeout_s=5.0)


def killed(pid: int) -> None:
    """End a process that a test has left."""
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
