"""Threads for agents that are plain functions.

A thread cannot be stopped. These are daemons, unlike those of `concurrent.futures`, for which the
interpreter waits at its end: an agent that never returns must not keep a process alive. They are
reused, so that what an agent keeps per thread (a connection) lasts.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

IDLE_S_MAX = 30.0
"""A thread without work ends after this time."""


class DaemonThreads:
    """As many threads as there is work at once; the worker loop bounds how much that is."""

    def __init__(self, name: str = "agent") -> None:
        self.stuck = 0
        self._name = name
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0
        """Threads that wait, less the work that waits for them."""

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run it in a thread with the caller's context variables.

        When the caller is cancelled the thread runs on and counts as stuck until it ends.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def call() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(work)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_end, ended, result, error)

        self._submit(call)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not ended.done():
                self.stuck += 1
                ended.add_done_callback(self._unstuck)
            raise

    def _unstuck(self, ended: asyncio.Future[Any]) -> None:
        self.stuck -= 1
        ended.exception()  # nobody else asks, and asyncio would complain

    def _submit(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._free -= 1
            if self._free >= 0:
                self._queue.put(call)
                return
            self._free += 1
        threading.Thread(target=self._serve, args=(call,), name=self._name, daemon=True).start()

    def _serve(self, call: Callable[[], None] | None) -> None:
        while call is not None:
            call()
            with self._lock:
                self._free += 1
            call = self._next()

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._queue.get(timeout=IDLE_S_MAX)
        except Empty:
            with self._lock:
                # Work handed over between the time-out and the lock is ours to do.
                with suppress(Empty):
                    return self._queue.get_nowait()
                self._free -= 1
            return None


class Inline:
    """No threads: plain functions run on the event loop. For the simulator."""

    stuck = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run it now."""
        return work()


def _end(ended: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(result)
    elif isinstance(error, StopIteration):
        ended.set_exception(RuntimeError("the function raised StopIteration"))
    else:
        ended.set_exception(error)
