"""`api`: the role that serves the REST API and the console."""

from __future__ import annotations

import typer

from caseworks.cli.base import (
    DEFAULT_APP,
    AppOption,
    BootstrapOption,
    InstanceOption,
    app_of,
    deps_of,
    settings_of,
)
from caseworks.cli.output import say


def api(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    instance: InstanceOption = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Serve the REST API and the console; reads what `projection` writes."""
    from caseworks.lifeline import Lifeline

    lifeline = Lifeline.hold()  # first: from here on this process dies with its supervisor
    from caseworks.api.extra import need_extra

    need_extra()
    from caseworks.api.role import run_api
    from caseworks.compose import build
    from events import logs
    from events.metrics import Prometheus

    settings = settings_of(bootstrap, instance)
    logs.configure(level=settings.log_level, role="api", instance=settings.instance)
    telemetry = Prometheus()
    broker = deps_of(context).connect(settings)
    system = build(app_of(app), settings, broker=broker, telemetry=telemetry)
    system.check_topics()
    if lifeline is not None:
        lifeline.wait_for_turn()
    code = run_api(
        system,
        telemetry,
        lifeline=lifeline,
        told=lambda port: say(f"api http://{settings.api_host}:{port}"),
    )
    raise typer.Exit(code)
