"""The jobs of one worker loop, on an event loop. No threads, no clock but the loop's.

Jobs wait in a queue. An asyncio task takes one after another until one of them waits; then it stays
with that one to its end, and another task serves the queue. So what never waits costs no task, and
every agent has the task it runs in to itself for as long as it waits.

What began together ends together: a thousand agents that waited a second. So of those only the end
is noted at once; their answers are written a few at a time, and others start in between.

A job is settled when the broker has acknowledged what answers it, and not before. An agent that
does not end when it is cancelled is given up: its case gets an answer, its offset goes on, and
what is left of it is counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import Any

from agents.delivery import Parcel
from agents.errors import WorkerStuckError
from agents.inline import resumed
from agents.job import Desk, Run, records_of, work
from agents.outcomes import Retry, Verdict
from events.broker import Record, TopicPartition
from events.errors import PayloadError
from events.logs import get_logger
from events.loop import Job, Settled

SWEEP_S = 0.5
"""How often runs that are out of time are looked for."""
POLL_S = 0.005
"""How often delivery reports are fetched while some are missing."""
JOBS_AT_ONCE = 64
"""Jobs that do not wait, before the event loop gets to something else."""
STARTS_AT_ONCE = 32
"""Jobs that wait, likewise."""
ANSWERS_AT_ONCE = 8
"""Answers of jobs that waited, likewise: fewer, so that what is to start does so first."""

_log = get_logger("caseworks.worker")


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
        self._producer = desk.services.producer
        self._on_settled = on_settled
        self._settled: deque[Settled] = deque()
        # Dictionaries for their order: what happens here must not depend on addresses.
        self._queue: deque[Run] = deque()
        self._first: Run | None = None
        """What makes its first step."""
        self._working: dict[Run, None] = {}
        """What waits since then."""
        self._over: deque[tuple[Run, Verdict | PayloadError, Context]] = deque()
        """What waited and has ended, and is to be answered."""
        self._sent: dict[Run, None] = {}
        self._serving = self._answering = self._sweeping = self._polling = False
        self._waited = 0
        """Jobs that began to wait when the queue was served last."""
        self._left = 0
        """Jobs that may still begin in this turn of the loop."""
        self._asked = False
        """Somebody waits for jobs to end."""
        self._sources: dict[tuple[str, int], TopicPartition] = {}
        """Where jobs came from: made once, not with every job."""

    @property
    def unacknowledged(self) -> int:
        """Answers that the broker has not acknowledged. Thread-safe."""
        return len(self._sent)

    @property
    def answered(self) -> int:
        """How many have ended and are not settled. Thread-safe; the next that ends is told."""
        self._asked = True
        return len(self._over) + len(self._sent)

    @property
    def settled(self) -> int:
        """Settled jobs that nobody has taken yet. Thread-safe."""
        return len(self._settled)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Start jobs."""
        self._queue.extend([Run(job.message, job.failure) for job in jobs])
        if not self._serving:
            self._serve()
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
        for run in (*self._queue, *(over[0] for over in self._over)):
            if partitions is None or run.message.source in partitions:
                run.wanted = False
        until = self._loop.time() + self.desk.services.limits.grace_s
        for run in list(self._working):
            if partitions is None or run.message.source in partitions:
                run.wanted, run.until = False, until
                if run.task is not None:
                    run.task.cancel()

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
        runs = [*self._working, self._first]
        return next((run for run in runs if run is not None and run.task is task), None)

    def give_up(self, run: Run, why: str) -> None:
        """Answer for a run that does not end. Thread-safe."""
        self._working.pop(run, None)
        if run.wanted and run.call is not None:
            run.wanted = False
            run.call.usage = run.call.context.usage
            run.ended = self.desk.services.now()
            self._send(run, (self.desk.answer(run, run.call, Retry("timeout", why)),))

    def _serve(self) -> None:
        """Have the queue served, for as long as there is one.

        By one task, as long as nothing waits; then by ever more in one turn of the loop.
        """
        self._serving = bool(self._queue)
        if self._serving:
            tasks, self._waited = min(2 * self._waited, STARTS_AT_ONCE, len(self._queue)), 0
            self._left = JOBS_AT_ONCE
            for _ in range(tasks or 1):
                self._loop.create_task(self._jobs())
            self._loop.call_soon(self._serve)  # after their first step

    async def _jobs(self) -> None:
        """Job after job, until one waited."""
        task, queue = asyncio.current_task(), self._queue
        while self._left > 0:
            self._left -= 1
            while queue and not queue[0].wanted:
                queue.popleft()  # discarded before it began
            if not queue:
                return
            run = queue.popleft()
            run.task = task
            rest = self._begun(run)
            if rest is not None:
                self._waited += 1
                await rest
                return
            if task is not None and task.cancelling():
                return

    def _begun(self, run: Run) -> Coroutine[Any, Any, None] | None:
        """Make the first step of a job, and send its answer; the rest, if it waits."""
        self._first = run
        context = copy_context()
        working = work(self.desk, run, self._loop.time)
        try:
            waits_for = context.run(working.send, None)
        except StopIteration as ended:
            self._answer(run, ended.value, context)
            return None
        finally:
            self._first = None
        if run.wanted:  # else it was given up meanwhile, from another thread
            self._working[run] = None
        return self._rest(run, resumed(working, waits_for, context.run), context)

    async def _rest(
        self, run: Run, working: Awaitable[Verdict | PayloadError], context: Context
    ) -> None:
        try:
            said = await working
        finally:
            self._working.pop(run, None)
        self._over.append((run, said, context))
        if not self._answering:
            self._answering = True
            self._loop.call_soon(self._answer_some)
        if self._asked:
            self._asked = False
            self._on_settled()

    def _answer_some(self) -> None:
        """Answer the next of those that waited."""
        try:
            for _ in range(min(ANSWERS_AT_ONCE, len(self._over))):
                self._answer(*self._over.popleft())
        finally:
            self._answering = bool(self._over)
            if self._answering:
                self._loop.call_soon(self._answer_some)

    def _answer(self, run: Run, said: Verdict | PayloadError, context: Context) -> None:
        if run.wanted:
            self._send(run, context.run(records_of, self.desk, run, said))
            if not self._polling:
                self._polling = True
                self._loop.call_later(POLL_S, self._poll)

    def _send(self, run: Run, records: tuple[Record, ...]) -> None:
        self._sent[run] = None
        run.parcel = parcel = Parcel(run, records, self._producer, self._loop, self._acknowledged)
        parcel.send()

    def _acknowledged(self, run: Run) -> None:
        """The broker has it all. Called on any thread."""
        self._sent.pop(run, None)
        run.parcel = None  # a circle less for the garbage collector, in every task
        message = run.message
        source = self._sources.get(message[:2])
        if source is None:
            source = self._sources[message[:2]] = message.source
        self._settled.append(Settled(source, message.offset, message.epoch))
        self._on_settled()

    def _poll(self) -> None:
        self._producer.poll()
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
        limit = f"not done in {run.call.task.timeout_s:g} s, and " if run.call else ""
        self.give_up(run, f"{limit}it ignores cancellation")
        if not self._polling:
            self._polling = True
            self._loop.call_later(POLL_S, self._poll)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.abandoned -= 1
        if not task.cancelled():
            task.exception()
