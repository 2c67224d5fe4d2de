"""`projection`: the role that keeps the read model of API and console up with Kafka."""

from __future__ import annotations

from typing import Annotated

import typer

from caseworks.cli.base import BootstrapOption, deps_of, settings_of
from caseworks.cli.output import say


def projection(
    context: typer.Context,
    bootstrap: BootstrapOption = "",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Throw the file away and read everything anew.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Read up to the end of the topics, and end.")
    ] = False,
) -> None:
    """Keep the read model in SQLite up with Kafka; the API and the console read it."""
    from caseworks.lifeline import Lifeline

    lifeline = Lifeline.hold()  # first: from here on this process dies with its supervisor
    from caseworks.projection.role import project_once, run_projection
    from events import logs
    from events.metrics import Prometheus

    settings = settings_of(bootstrap)
    logs.configure(level=settings.log_level, role="projection", instance=settings.instance)
    telemetry, broker = Prometheus(), deps_of(context).connect(settings)
    if lifeline is not None:
        lifeline.wait_for_turn()
    if once:
        done = project_once(broker, settings, telemetry, rebuild=rebuild)
        say(f"{done.path}: {done.behind} records behind")
        return
    code = run_projection(
        broker,
        settings,
        telemetry,
        rebuild=rebuild,
        lifeline=lifeline,
        told=lambda port: say(f"http http://{settings.http_host}:{port}"),
    )
    raise typer.Exit(code)
