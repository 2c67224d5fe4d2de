"""`trace export`: the role that sends what happened in cases to OpenTelemetry."""

from __future__ import annotations

from typing import Annotated

import typer

from caseworks.cli.base import BootstrapOption, deps_of, settings_of
from caseworks.cli.output import say

trace = typer.Typer(help="Cases as OpenTelemetry traces.", no_args_is_help=True)


@trace.callback()
def traces() -> None:
    """Keep `export` a command of its own."""


@trace.command()
def export(
    context: typer.Context,
    bootstrap: BootstrapOption = "",
    once: Annotated[bool, typer.Option("--once", help="Send what is there, and end.")] = False,
) -> None:
    """Send a trace of each closed case to OTEL_EXPORTER_OTLP_ENDPOINT, and go on."""
    from caseworks.lifeline import Lifeline

    lifeline = Lifeline.hold()  # first: from here on this process dies with its supervisor
    from caseworks.tracing.otlp import need_otlp
    from caseworks.tracing.role import export_once, run_export
    from events import logs
    from events.metrics import Prometheus

    settings = settings_of(bootstrap)
    need_otlp()
    logs.configure(level=settings.log_level, role="trace", instance=settings.instance)
    telemetry, broker = Prometheus(), deps_of(context).connect(settings)
    if once:
        export_once(broker, settings, telemetry)
        return
    code = run_export(
        broker,
        settings,
        telemetry,
        lifeline=lifeline,
        told=lambda port: say(f"http http://{settings.http_host}:{port}"),
    )
    raise typer.Exit(code)
