"""What every role's process has around its loops: signals, lifeline, health, metrics, lag."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING

from caseworks.lag import LagMonitor, Surveyor
from caseworks.lifeline import Lifeline
from events.health import HealthServer
from events.logs import get_logger
from events.metrics import Prometheus

if TYPE_CHECKING:
    from caseworks.compose import System

READY_INTERVAL_S = 0.02
STEADY_NICE = 5
"""Priority of a supervised process once it is ready; it starts with its parent's."""

log = get_logger(__name__)

Told = Callable[[int], None]
"""Told the port of the health server."""


def run_role(
    system: System,
    telemetry: Prometheus,
    role: Callable[[Event], int],
    groups: Mapping[str, Sequence[str]],
    *,
    lifeline: Lifeline | None = None,
    told: Told = lambda _port: None,
) -> int:
    """Run a role until SIGTERM or Ctrl-C, then let it drain; returns its exit code.

    Args:
        system: What the role runs in.
        telemetry: Where the system counts; served at `/metrics`.
        role: Blocks until the event is set.
        groups: The consumer groups whose lag this process tells, and what each reads; may be none.
        lifeline: Told when the process is ready.
        told: Told the port of `/healthz`, `/readyz` and `/metrics` once it serves.

    Raises `SetupError` when the topics or the port are not as needed.
    """
    settings = system.settings
    system.check_topics()
    with ExitStack() as around:
        stop = around.enter_context(stop_on_signals())
        health = around.enter_context(
            closing(
                HealthServer(
                    system.ready,
                    lambda: _metrics(system, telemetry),
                    host=settings.http_host,
                    port=settings.http_port,
                )
            )
        )
        told(health.port)
        if groups:
            specs = {agent.name: agent.spec for agent in system.app.agents.values()}
            surveyor = Surveyor(system.broker, settings, groups, specs=specs)
            monitor = LagMonitor(surveyor, telemetry, settings.lag_interval_s)
            around.enter_context(closing(monitor))
        announcer = Thread(
            target=_announce, args=(system, stop, lifeline, health.port), name="ready", daemon=True
        )
        announcer.start()
        code = role(stop)
        stop.set()
        announcer.join()
        log.info("ended", code=code)
        return code


def _metrics(system: System, telemetry: Prometheus) -> bytes:
    """The samples of now: a loop without work turns too, and commits nothing."""
    settings = system.settings
    for driver in system.drivers:
        loop = driver.name.removeprefix(f"{settings.namespace}-")
        telemetry.set(
            "caseworks_loop_last_turn_timestamp_seconds",
            time.time() - (time.monotonic() - driver.last_turn),
            loop=loop.removesuffix(f"-{settings.instance}"),
        )
    return telemetry.text()


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """An event that SIGTERM or SIGINT sets; a second signal ends the process at once."""
    stop = Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C, wherever the code is; a second one ends the process at once.

    For a command that has to undo what it started: nothing of it outlives the process anyway.
    """
    seen = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(128 + number)
        seen = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _announce(system: System, stop: Event, lifeline: Lifeline | None, port: int) -> None:
    while not system.ready()[0]:
        if stop.wait(READY_INTERVAL_S):
            return
    log.info("ready", http_port=port)
    if lifeline is not None:
        lifeline.ready(port)
        give_way()


def give_way() -> None:
    """Run a little behind from now on, so that a sibling that is started again is soon back.

    On a saturated machine the start of a process takes seconds, and its work waits all that time.
    Where threads have no priorities of their own (not Linux), nothing happens.
    """
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, int(thread.name), STEADY_NICE)
