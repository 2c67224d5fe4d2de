"""Executes the jobs of one worker loop: an `events.dispatch.Executor`.

`ThreadedExecutor` is called from the worker loop's thread and runs its jobs on an event loop in
another thread, which all agents of a process share. `SimExecutor` runs them on an event loop that
somebody else steps. What they have in common is `agents.crew`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from agents.crew import Crew
from agents.errors import WorkerStuckError
from agents.job import Desk, Run
from agents.stalls import OnLoop, Stalls
from events.broker import TopicPartition
from events.logs import get_logger
from events.loop import Job, Settled
from events.metrics import NULL, Telemetry

BEAT_S = 0.25
LAST_WORD_S = 3.0
"""How long the outcome of a blocking job may take before the process gives up."""

_log = get_logger("caseworks.worker")


class EventLoopThread:
    """The event loop that all agents of a process run on, in a thread of its own.

    Args:
        name: Of the thread.
        stuck_after_s: It has stalled when it has not turned for so long.
        telemetry: Counts stalls.
    """

    def __init__(
        self, name: str = "agents", *, stuck_after_s: float = 5.0, telemetry: Telemetry = NULL
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.crews: list[Crew] = []
        """Who runs jobs on it."""
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        self.stalls = Stalls(
            self._thread.ident or 0, self.on_loop, after_s=stuck_after_s, telemetry=telemetry
        )
        self.loop.call_soon_threadsafe(self._tick)

    def on_loop(self) -> OnLoop | None:
        """Whose task is on the loop right now. Thread-safe."""
        task = asyncio.current_task(self.loop)
        for crew in self.crews[:]:
            run = crew.run_of(task)
            if run is not None:
                return OnLoop(crew.desk.agent.name, run.call.task.case_id if run.call else None)
        return None

    def close(self, timeout_s: float = 2.0) -> bool:
        """Cancel everything and end; false when an agent did not let go in time."""
        self._closing = True
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._closing:
                self._turn()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def _turn(self) -> None:
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these through the loop. Whoever awaits the task that raised it gets it
            # as well; the loop is everybody's and goes on.
            _log.error("exit_in_task", error=repr(error), exc_info=error)

    def _tick(self) -> None:
        self.stalls.beat()
        self.loop.call_later(BEAT_S, self._tick)


class ThreadedExecutor:
    """Hands jobs to an event loop in another thread, a batch at a time."""

    def __init__(self, desk: Desk, host: EventLoopThread) -> None:
        self._host = host
        self._wake = threading.Event()
        self._crew = Crew(desk, host.loop, self._woken)
        host.crews.append(self._crew)
        self._blocked_since: float | None = None
        self._producer = desk.services.producer
        self._limits = desk.services.limits

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

    @property
    def answered(self) -> int:
        return self._crew.answered

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        self._host.loop.call_soon_threadsafe(self._crew.discard, partitions)

    def close(self) -> None:
        with suppress(ValueError):  # closed before
            self._host.crews.remove(self._crew)
        with suppress(RuntimeError):  # the loop is closed already
            self._host.loop.call_soon_threadsafe(self._crew.discard, None)

    def _woken(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _check_blocked(self) -> None:
        """An agent that blocks the loop beyond its time is answered for, then the process ends.

        It could not be cancelled, and after a restart it must not be given the same task again.
        So does one that has time left when the loop has stood for `stuck_max_s`; and if nobody
        can be named, in a task that an agent has left behind, the process ends all the same.
        """
        stood_s, limit_s = self._host.stalls.look(), self._limits.stuck_max_s
        now = monotonic()
        if self._blocked_since is not None:
            if now - self._blocked_since > LAST_WORD_S or not self._crew.unacknowledged:
                answered = not self._crew.unacknowledged
                raise _stuck(self._crew.desk.agent.name, answered=answered)
            return
        if stood_s <= max(self._limits.grace_s, 2 * BEAT_S):
            return  # between two beats every loop stands
        run = self._crew.run_of(asyncio.current_task(self._host.loop))
        if run is not None:
            if now > run.until or stood_s > limit_s:
                self._blocked_since = now
                self._answer_for(run, stood_s)
        elif stood_s > limit_s + (2 * LAST_WORD_S if self._host.on_loop() else 0.0):
            raise _stuck("", answered=False)

    def _answer_for(self, run: Run, stood_s: float) -> None:
        _log.error(
            "agent_blocks",
            agent=self._crew.desk.agent.name,
            case_id=run.call.task.case_id if run.call else None,
            stood_s=round(stood_s, 1),
        )
        self._crew.give_up(run, f"it blocks the event loop, which has stood for {stood_s:.1f} s")


def _stuck(agent: str, *, answered: bool) -> WorkerStuckError:
    return WorkerStuckError(
        f"agent {agent!r} blocks the event loop and does not return"
        if agent
        else "something blocks the event loop of the agents and does not return",
        hint="await what waits, or declare the agent with a plain def",
        answered=answered,
    )


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

    @property
    def answered(self) -> int:
        return self._crew.answered

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        self._crew.discard(partitions)

    def close(self) -> None:
        self._crew.discard(None)
