"""The process `caseworks trace export`: signals, health and metrics around the one who sends."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from caseworks.process import Told, give_way, stop_on_signals
from caseworks.tracing.export import TraceExport
from caseworks.tracing.otlp import Sender
from events.health import HealthServer
from events.logs import get_logger

if TYPE_CHECKING:
    from caseworks.lifeline import Lifeline
    from events.broker import Broker
    from events.metrics import Prometheus
    from events.settings import Settings

log = get_logger(__name__)


def run_export(
    broker: Broker,
    settings: Settings,
    telemetry: Prometheus,
    *,
    lifeline: Lifeline | None = None,
    told: Told = lambda _port: None,
) -> int:
    """Export until SIGTERM or Ctrl-C; returns the exit code. Raises `SetupError` for the port."""
    with ExitStack() as around:
        stop = around.enter_context(stop_on_signals())
        sender = around.enter_context(closing(Sender(settings)))
        running = TraceExport(broker, settings, sender, telemetry=telemetry)
        health = around.enter_context(
            closing(
                HealthServer(
                    running.ready, telemetry.text, host=settings.http_host, port=settings.http_port
                )
            )
        )
        told(health.port)
        log.info("began", http_port=health.port)
        if lifeline is not None:
            lifeline.wait_for_turn()
            lifeline.ready(health.port)
            give_way()
        return running.run(stop)


def export_once(broker: Broker, settings: Settings, telemetry: Prometheus) -> None:
    """Export what is there. Raises `RetriableError` when the collector does not take it."""
    with closing(Sender(settings)) as sender:
        TraceExport(broker, settings, sender, telemetry=telemetry).run_once()
