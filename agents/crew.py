"""The jobs of one worker loop, on an event loop. No threads, no clock but the loop's.

A job is settled when the broker has acknowledged what answers it, and not before. An agent that
does not end when it is cancelled is given up: its case gets an answer, its offset goes on, and
what is left of it is counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from agents.call import Call
from agents.delivery import Parcel
from agents.errors import WorkerStuckError
from agents.job import Desk, run_job
from agents.outcomes import Retry
from events.broker import Message, Record, TopicPartition
from events.logs import get_logger
from events.loop import Job, Settled

SWEEP_S = 0.5
"""How often runs that are out of time are looked for."""
POLL_S = 0.005
"""How often delivery reports are fetched while some are missing."""

_log = get_logger("caseworks.worker")


class Run:
    """One job in execution, then in delivery."""

    __slots__ = ("call", "message", "parcel", "started", "task", "until", "wanted")

    def __init__(self, message: Message, started: float) -> None:
        self.message = message
        self.started = started
        self.call: Call | None = None
        self.task: asyncio.Task[None] | None = None
        self.parcel: Parcel | None = None
        self.until = float("inf")
        """When it is given up, on the event loop's clock."""
        self.wanted = True


class Crew:
    """Runs the jobs of one agent; called on the event loop's thread, unless a method says else."""

    def __init__(
        self,
        desk: Desk,
        loop: asyncio.AbstractEventLoop,
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self.desk = desk
        self.abandoned = 0
        """Runs that were given up and have not ended."""
        self._loop = loop
        self._on_settled = on_settled
        self._settled: deque[Settled] = deque()
        # Dictionaries for their order: what happens here must not depend on addresses.
        self._working: dict[Run, None] = {}
        self._sent: dict[Run, None] = {}
        self._sweeping = self._polling = False

    @property
    def unacknowledged(self) -> int:
        """Answers that the broker has not acknowledged. Thread-safe."""
        return len(self._sent)

    @property
    def settled(self) -> int:
        """Settled jobs that nobody has taken yet. Thread-safe."""
        return len(self._settled)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Start jobs."""
        now = self.desk.services.now()
        for job in jobs:
            run = Run(job.message, now)
            self._working[run] = None
            run.task = self._loop.create_task(self._work(run))
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def discard(self, partitions: frozenset[TopicPartition] | None) -> None:
        """Forget the jobs of these partitions (`None`: all) and cancel those that run."""
        for run in list(self._sent):
            if partitions is None or run.message.source in partitions:
                self._sent.pop(run, None)
                if run.parcel is not None:
                    run.parcel.wanted = False
        until = self._loop.time() + self.desk.services.limits.grace_s
        for run in list(self._working):
            if partitions is None or run.message.source in partitions:
                run.wanted, run.until = False, until
                if run.task is not None:
                    run.task.cancel()
                    # One that never began has nothing that takes it out of the set.
                    run.task.add_done_callback(partial(self._forget, run))

    def take_settled(self) -> list[Settled]:
        """What was settled since the last time. Thread-safe for one taker."""
        taken = []
        while self._settled:
            taken.append(self._settled.popleft())
        return taken

    def check(self) -> None:
        """Raises `WorkerStuckError` when too much was given up and still runs. Thread-safe."""
        services = self.desk.services
        stuck, limit = self.abandoned + services.threads.stuck, services.limits.abandoned_max
        if stuck >= limit:
            raise WorkerStuckError(
                f"{stuck} runs were given up and do not end, {self.desk.agent.name!r} among them",
                hint="let cancellation through, and give blocking calls a time limit",
            )

    def run_of(self, task: asyncio.Task[object] | None) -> Run | None:
        """The job that runs in this asyncio task. Thread-safe."""
        return next((run for run in list(self._working) if run.task is task), None)

    def give_up(self, run: Run, why: str) -> None:
        """Answer for a run that does not end. Thread-safe."""
        self._working.pop(run, None)
        if run.wanted and run.call is not None:
            run.wanted = False
            run.call.usage = run.call.context.usage
            verdict = Retry("timeout", f"not done in {run.call.task.timeout_s:g} s, and {why}")
            self._send(run, (self.desk.answer(run.message, run.call, verdict, run.started),))

    async def _work(self, run: Run) -> None:
        def opened(call: Call) -> None:
            run.call = call
            run.until = call.context.run_until + self.desk.services.limits.grace_s

        try:
            records = await run_job(self.desk, run.message, opened)
        finally:
            self._working.pop(run, None)
        if run.wanted:
            self._send(run, records)
            if not self._polling:
                self._polling = True
                self._loop.call_later(POLL_S, self._poll)

    def _send(self, run: Run, records: tuple[Record, ...]) -> None:
        def acknowledged() -> None:
            self._sent.pop(run, None)
            run.parcel = None  # a circle less for the garbage collector, in every task
            message = run.message
            self._settled.append(Settled(message.source, message.offset, message.epoch))
            self._on_settled()

        self._sent[run] = None
        parcel = Parcel(records, self.desk.services.producer, self._loop, acknowledged)
        run.parcel = parcel
        parcel.send()

    def _poll(self) -> None:
        self.desk.services.producer.poll()
        self._polling = bool(self._sent)
        if self._polling:
            self._loop.call_later(POLL_S, self._poll)

    def _sweep(self) -> None:
        now = self._loop.time()
        for run in list(self._working):
            if now > run.until:
                self._abandon(run)
        self._sweeping = bool(self._working)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def _abandon(self, run: Run) -> None:
        """Count what is left of a run, and answer for it."""
        self.abandoned += 1
        if run.task is not None:
            run.task.add_done_callback(self._ended)
        _log.error(
            "agent_ignores_cancellation",
            agent=self.desk.agent.name,
            case_id=run.call.task.case_id if run.call else None,
            abandoned=self.abandoned,
        )
        self.give_up(run, "it ignores cancellation")
        if not self._polling:
            self._polling = True
            self._loop.call_later(POLL_S, self._poll)

    def _forget(self, run: Run, _: object) -> None:
        self._working.pop(run, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.abandoned -= 1
        if not task.cancelled():
            task.exception()
