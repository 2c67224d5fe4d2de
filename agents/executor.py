"""Executes the jobs of one worker loop: an `events.dispatch.Executor`.

`ThreadedExecutor` is called from the worker loop's thread and runs its jobs on an event loop in
another thread, which all agents of a process share. `SimExecutor` runs them on an event loop that
somebody else steps. What they have in common is `agents.crew`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from agents.crew import Crew
from agents.errors import WorkerStuckError
from agents.job import Desk, Run
from events.broker import TopicPartition
from events.logs import get_logger
from events.loop import Job, Settled

BEAT_S = 0.25
LAST_WORD_S = 3.0
"""How long the outcome of a blocking job may take before the process gives up."""

_log = get_logger("caseworks.worker")


class EventLoopThread:
    """The event loop that all agents of a process run on, in a thread of its own."""

    def __init__(self, name: str = "agents") -> None:
        self.loop = asyncio.new_event_loop()
        self.beat = monotonic()
        """When the loop last had a turn, in monotonic seconds."""
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def stack(self) -> str:
        """Where the loop's thread is right now."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - no other way
        return "".join(traceback.format_stack(frame)) if frame else "the thread has ended"

    def close(self, timeout_s: float = 2.0) -> bool:
        """Cancel everything and end; false when an agent did not let go in time."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._tick)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def _tick(self) -> None:
        self.beat = monotonic()
        self.loop.call_later(BEAT_S, self._tick)


class ThreadedExecutor:
    """Hands jobs to an event loop in another thread, a batch at a time."""

    def __init__(self, desk: Desk, host: EventLoopThread) -> None:
        self._host = host
        self._wake = threading.Event()
        self._crew = Crew(desk, host.loop, on_settled=self._woken)
        self._blocked_since: float | None = None
        self._producer = desk.services.producer
        self._grace_s = desk.services.limits.grace_s

    def start(self, jobs: Sequence[Job]) -> None:
        self._host.loop.call_soon_threadsafe(self._crew.begin, jobs)

    def collect(self, timeout_s: float) -> Sequence[Settled]:
        """Also fetches delivery reports, and sees whether an agent blocks the event loop.

        Raises `WorkerStuckError` when the process must be restarted.
        """
        self._producer.poll()
        if timeout_s > 0 and not self._crew.settled:
            self._wake.wait(timeout_s)
            self._producer.poll()
        self._wake.clear()
        settled = self._crew.take_settled()
        if not settled:
            self._crew.check()
            self._check_blocked()
        return settled

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        self._host.loop.call_soon_threadsafe(self._crew.discard, partitions)

    def close(self) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            self._host.loop.call_soon_threadsafe(self._crew.discard, None)

    def _woken(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _check_blocked(self) -> None:
        """An agent that blocks the loop beyond its time is answered for, then the process ends.

        It could not be cancelled, and after a restart it must not be given the same task again.
        """
        now = monotonic()
        if self._blocked_since is not None:
            if now - self._blocked_since > LAST_WORD_S or not self._crew.unacknowledged:
                raise WorkerStuckError(
                    "an agent blocks the event loop and does not return",
                    hint="await what waits, or declare the agent with a plain def",
                )
            return
        if now - self._host.beat <= self._grace_s:
            return
        run = self._crew.run_of(asyncio.current_task(self._host.loop))
        if run is not None and now > run.until:
            self._blocked_since = now
            self._answer_for(run)

    def _answer_for(self, run: Run) -> None:
        _log.error("agent_blocks", agent=self._crew.desk.agent.name, stack=self._host.stack())
        self._crew.give_up(run, "it blocks the event loop")


class SimExecutor:
    """Runs jobs on an event loop that somebody else steps, on the same thread."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._crew = Crew(desk, loop)
        self._producer = desk.services.producer

    def start(self, jobs: Sequence[Job]) -> None:
        self._crew.begin(jobs)

    def collect(self, timeout_s: float) -> Sequence[Settled]:
        """What was settled; never waits: time passes between the steps of the loop."""
        self._producer.poll()
        settled = self._crew.take_settled()
        if not settled:
            self._crew.check()
        return settled

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        self._crew.discard(partitions)

    def close(self) -> None:
        self._crew.discard(None)
