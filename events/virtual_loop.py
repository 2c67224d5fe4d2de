"""An asyncio event loop on a virtual clock, stepped from outside.

Agents are coroutines. In the simulator they run here: `asyncio.sleep`, `timeout`, tasks, futures,
locks and queues work as always, but time is whatever the clock says, nothing runs until `run_ready`
is called, and whatever would reach outside (sockets, threads, processes, signals) is refused with
the place that asked for it.

The queue is first in, first out, as in the standard loop: what varies between runs is when the loop
is stepped.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sized
from contextlib import suppress
from contextvars import Context
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from events.errors import DeclarationError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Clock = Callable[[], float]
AUDIT_EVENT = "caseworks.outside"
"""Told to the interpreter's audit hooks when a coroutine reaches outside."""
_HERE = (str(Path(__file__)), str(Path(asyncio.__file__).parent))


def _caller() -> str:
    """The first place on the stack that is neither asyncio nor this file."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:
        return "something"
    code = frame.f_code
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})"


def _refusal(name: str) -> Any:  # a method of any signature
    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        sys.audit(AUDIT_EVENT, name)
        raise DeclarationError(
            f"{_caller()} asks the simulated event loop for {name}, which reaches outside of it",
            hint="hand the agent a fake of what it calls",
        )

    refuse.__name__ = name
    return refuse


class _Inside(asyncio.AbstractEventLoop):
    """Refuses whatever reaches outside of the simulation."""

    add_reader = _refusal("add_reader")
    add_signal_handler = _refusal("add_signal_handler")
    add_writer = _refusal("add_writer")
    connect_accepted_socket = _refusal("connect_accepted_socket")
    connect_read_pipe = _refusal("connect_read_pipe")
    connect_write_pipe = _refusal("connect_write_pipe")
    create_connection = _refusal("create_connection")
    create_datagram_endpoint = _refusal("create_datagram_endpoint")
    create_server = _refusal("create_server")
    create_unix_connection = _refusal("create_unix_connection")
    create_unix_server = _refusal("create_unix_server")
    get_exception_handler = _refusal("get_exception_handler")
    set_exception_handler = _refusal("set_exception_handler")
    get_task_factory = _refusal("get_task_factory")
    set_task_factory = _refusal("set_task_factory")
    stop = _refusal("stop")
    getaddrinfo = _refusal("getaddrinfo")
    getnameinfo = _refusal("getnameinfo")
    remove_reader = _refusal("remove_reader")
    remove_signal_handler = _refusal("remove_signal_handler")
    remove_writer = _refusal("remove_writer")
    run_forever = _refusal("run_forever")
    run_in_executor = _refusal("run_in_executor")
    sendfile = _refusal("sendfile")
    set_default_executor = _refusal("set_default_executor")
    sock_accept = _refusal("sock_accept")
    sock_connect = _refusal("sock_connect")
    sock_recv = _refusal("sock_recv")
    sock_recv_into = _refusal("sock_recv_into")
    sock_recvfrom_into = _refusal("sock_recvfrom_into")
    sock_recvfrom = _refusal("sock_recvfrom")
    sock_sendall = _refusal("sock_sendall")
    sock_sendfile = _refusal("sock_sendfile")
    sock_sendto = _refusal("sock_sendto")
    start_tls = _refusal("start_tls")
    subprocess_exec = _refusal("subprocess_exec")
    subprocess_shell = _refusal("subprocess_shell")


class VirtualLoop(_Inside):
    """A loop that only moves when told to.

    Args:
        clock: Seconds; must not go back.

    Example: `loop.create_task(agent()); loop.run_ready(); loop.next_timer()`
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._closed = self._running = False
        self.errors: list[dict[str, Any]] = []
        """What the standard loop would log: exceptions nobody fetched, failed callbacks."""

    # --- stepping

    def run_ready(self, limit: int | None = None) -> int:
        """Run what is due, at most `limit` callbacks; returns how many ran.

        Callbacks that become ready meanwhile are run too, so without a limit this ends only when
        every task waits.
        """
        self._wake_due()
        ran = 0
        previous = asyncio._get_running_loop()  # noqa: SLF001 - the official hook of loop makers
        asyncio._set_running_loop(self)  # noqa: SLF001
        self._running = True
        try:
            while self._ready and (limit is None or ran < limit):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001 - as every loop does
                    ran += 1
        finally:
            self._running = False
            asyncio._set_running_loop(previous)  # noqa: SLF001
        return ran

    @property
    def soon(self) -> Sized:
        """What runs at the next step; the same object for the loop's life."""
        return self._ready

    @property
    def later(self) -> Sized:
        """Timers, cancelled ones included; the same object for the loop's life."""
        return self._timers

    @property
    def has_ready(self) -> bool:
        """Whether `run_ready` would run something now."""
        if self._ready:
            return True
        if not self._timers or self._timers[0][0] > self._clock():
            return False
        due = self.next_timer()
        return due is not None and due <= self._clock()

    def next_timer(self) -> float | None:
        """When the next timer is due; `None` without timers."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def abandon(self) -> None:
        """Drop every task as a kill does: none of them is told, and no `finally` reaches outside.

        The loop is closed first, so whatever a `finally` block tries, it cannot schedule it.
        """
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        tasks, self._tasks = list(self._tasks), {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # coroutines that a dying `finally` never awaits
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
                _drop(task.get_coro())

    def _wake_due(self) -> None:
        now = self._clock()
        while (due := self.next_timer()) is not None and due <= now:
            self._ready.append(heapq.heappop(self._timers)[2])

    # --- what coroutines need

    def time(self) -> float:
        return self._clock()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._clock() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        self._check_closed()
        task: asyncio.Task[T] = asyncio.Task(
            coro,
            loop=self,
            # The default name counts all tasks of the process: two runs would differ.
            name=name or f"task-{next(self._order)}",
            context=context,
            **options,
        )
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine as far as it comes without time passing; for tests.

        Raises `DeclarationError` when it waits for something that only time brings.
        """
        task = asyncio.ensure_future(future, loop=self)
        self.run_ready()
        if not task.done():
            raise DeclarationError("the coroutine waits, and nothing moves the virtual clock")
        return task.result()

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Close; tasks that still wait are dropped."""
        if not self._closed:
            self.abandon()

    async def shutdown_asyncgens(self) -> None:
        """Nothing to shut down: generators end with their tasks."""

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncio's signature
    ) -> None:
        """There is none."""

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Debugging measures wall time, which means nothing here."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what the standard loop would log, for the driver to look at."""
        if not self._closed:
            self.errors.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave when they come up."""

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")


def _drop(coroutine: Any) -> None:
    """End a coroutine or generator that may resist."""
    with suppress(Exception):  # dying words of a killed process; nobody hears them
        coroutine.close()
