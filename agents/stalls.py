"""An event loop that does not turn: who is on it, and where every thread is.

The loop beats; others look. Only time during which somebody looked counts, so that a machine that
slept, or a process that was stopped, has not stalled.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import NamedTuple

from events.logs import get_logger
from events.metrics import NULL, Telemetry

LOOK_S_MAX = 1.0
"""Time between two looks that counts at most."""
THREADS_MAX = 20
FRAMES_MAX = 25
ARM_S_MAX = 1.0
UNKNOWN = "unknown"

_log = get_logger("caseworks.worker")


class OnLoop(NamedTuple):
    """Whose task is on the event loop."""

    agent: str
    case_id: str | None


class Stalls:
    """Watches one event loop. Thread-safe.

    Args:
        thread: Identifier of the loop's thread, whose stack comes first.
        after_s: The loop has stalled when it has not turned for so long.
        who: Whose task is on the loop now, if one is known.
        telemetry: Counts stalls.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        thread: int,
        who: Callable[[], OnLoop | None],
        *,
        after_s: float,
        telemetry: Telemetry = NULL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._thread = thread
        self._who = who
        self._after_s = after_s
        self._telemetry = telemetry
        self._clock = clock
        self._lock = threading.Lock()
        self._beat = self._looked = clock()
        self._stood_s = 0.0
        self._told = ""
        """What is said of this stall; empty until it is one."""

    def beat(self) -> None:
        """The loop turns."""
        self._beat = self._clock()

    def look(self) -> float:
        """For how long the loop has not turned, in seconds; logs a stall, once."""
        with self._lock:
            now, beat = self._clock(), self._beat
            if beat >= self._looked:
                self._stood_s = 0.0
            self._stood_s += min(now - max(beat, self._looked), LOOK_S_MAX)
            self._looked = now
            if self._stood_s < self._after_s:
                self._end()
            elif not self._told:
                self._tell()
            return self._stood_s

    def trouble(self) -> str:
        """Why the process is not ready; empty when the loop turns."""
        return self._told

    def _tell(self) -> None:
        found = self._who()
        agent = found.agent if found else UNKNOWN
        self._told = f"the event loop of the agents does not turn; on it: {agent}"
        self._telemetry.count("caseworks_loop_stalls_total", agent=agent)
        _log.error(
            "loop_stalled",
            agent=agent,
            case_id=found.case_id if found else None,
            stood_s=round(self._stood_s, 1),
            threads=stacks(self._thread),
        )

    def _end(self) -> None:
        if self._told:
            self._told = ""
            _log.info("loop_turns_again")


def stacks(first: int) -> list[dict[str, object]]:
    """Where every thread is, innermost call last; the thread *first* comes first. Bounded."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - no other way
    order = sorted(frames, key=lambda ident: ident != first)
    return [
        {"thread": names.get(ident, str(ident)), "stack": _lines(frames[ident])}
        for ident in order[:THREADS_MAX]
    ]


def _lines(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None and len(found) < FRAMES_MAX:
        code = frame.f_code
        found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        frame = frame.f_back
    return found[::-1]


@contextmanager
def ended_when_frozen(after_s: float) -> Iterator[None]:
    """End this process, all stacks on stderr, when no thread of it got to run Python for so long.

    That is a call into C that keeps the interpreter to itself: no thread of ours can see it then,
    the one of `faulthandler` can. The exit code is 1; a supervisor starts the process again.
    """
    ended = threading.Event()

    def keep_arming() -> None:
        while not ended.is_set():
            faulthandler.dump_traceback_later(after_s, exit=True, file=sys.__stderr__ or sys.stderr)
            ended.wait(min(ARM_S_MAX, after_s / 4))
        faulthandler.cancel_dump_traceback_later()

    thread = threading.Thread(target=keep_arming, name="frozen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
