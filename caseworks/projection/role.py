"""The process `caseworks projection`: signals, health and metrics around the one who writes."""

from __future__ import annotations

import gc
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from caseworks.process import Told, give_way, stop_on_signals
from caseworks.projection.run import Projection
from events.health import HealthServer
from events.logs import get_logger

if TYPE_CHECKING:
    from caseworks.lifeline import Lifeline
    from events.broker import Broker
    from events.metrics import Prometheus
    from events.settings import Settings

GC_THRESHOLD = (200_000, 20, 100)

log = get_logger(__name__)


def run_projection(
    broker: Broker,
    settings: Settings,
    telemetry: Prometheus,
    *,
    rebuild: bool = False,
    lifeline: Lifeline | None = None,
    told: Told = lambda _port: None,
) -> int:
    """Keep the projection up until SIGTERM or Ctrl-C; returns the exit code.

    Its supervisor hears that it is ready when it has begun; `/readyz` is red until it has caught
    up, which after a rebuild takes a minute for each half a million cases or so. Raises
    `SetupError`: no topics, another writer, a file that cannot be written, a port that is taken.
    """
    _collect_seldom()
    with ExitStack() as around:
        stop = around.enter_context(stop_on_signals())
        running = around.enter_context(Projection(broker, settings, telemetry=telemetry))
        if rebuild:
            running.rebuild()
        health = around.enter_context(
            closing(
                HealthServer(
                    running.ready, telemetry.text, host=settings.http_host, port=settings.http_port
                )
            )
        )
        told(health.port)
        log.info("began", file=str(running.path), http_port=health.port)
        if lifeline is not None:
            lifeline.ready(health.port)
            give_way()
        return running.run(stop)


def _collect_seldom() -> None:
    """A batch is many objects without a circle, and gone as a whole."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def project_once(
    broker: Broker, settings: Settings, telemetry: Prometheus, *, rebuild: bool
) -> Projection:
    """Read up to where the topics end now, and close the file. Raises `SetupError`."""
    _collect_seldom()
    with Projection(broker, settings, telemetry=telemetry) as running:
        if rebuild:
            running.rebuild()
        running.run_once()
    return running
