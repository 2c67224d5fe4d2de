"""`up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import DEFAULT_APP, AppOption, BootstrapOption, app_of, settings_of
from caseworks.cli.output import note, say

if TYPE_CHECKING:
    from caseworks.app import App
    from caseworks.stage import Cast, Stage
    from caseworks.supervisor import Change
    from events.metrics import Prometheus
    from events.settings import Settings


def up(
    app: AppOption = DEFAULT_APP,
    bootstrap: BootstrapOption = "",
    coordinators: Annotated[int, typer.Option(min=1, max=16, help="How many of them.")] = 1,
    *,
    insight: Annotated[
        bool, typer.Option("--insight", help="Count results too: rates, drift, alerts, savings.")
    ] = False,
    console: Annotated[
        bool, typer.Option("--console/--no-console", help="With the read model, API and console.")
    ] = True,
) -> None:
    """Start Kafka, coordinator and a worker per agent, and keep them running until Ctrl-C."""
    from caseworks.cli.progress import Steps
    from caseworks.process import interrupted_by_signals
    from caseworks.stage import Stage
    from events.logs import configure
    from events.metrics import Prometheus

    configure(level="warning", role="up")
    settings = settings_of(bootstrap)
    application = app_of(app)
    telemetry = Prometheus()
    with interrupted_by_signals(), Steps() as steps:
        stage = Stage(
            application,
            settings,
            _cast(app, coordinators, settings, insight=insight, console=console),
            progress=steps.progress,
            listener=lambda change: _tell(change, telemetry),
        )
        try:
            with stage:
                _keep_on(stage, application, telemetry, steps)
        except KeyboardInterrupt:
            note("stopped: nothing is left running")


def _keep_on(stage: Stage, app: App, telemetry: Prometheus, steps: Any) -> None:
    from contextlib import closing

    from events.health import HealthServer

    steps.progress("starting the processes", 0.0)
    stage.wait_ready()
    steps.close()
    settings = stage.settings
    health = HealthServer(
        lambda: (stage.supervisor.ready, "all children are ready, or not yet"),
        telemetry.text,
        host=settings.http_host,
        port=settings.http_port,
    )
    with closing(health):
        say(f"ready bootstrap={stage.bootstrap}")
        _what_next(stage, app, health.port)
        while True:
            stage.turn()


def _cast(
    target: str, coordinators: int, settings: Settings, *, insight: bool, console: bool
) -> Cast:
    """Children are quiet unless asked to speak; their ports follow ours."""
    from caseworks.api.extra import HINT, missing
    from caseworks.stage import Cast
    from caseworks.tracing.otlp import is_installed, is_wanted

    asked = "log_level" in settings.model_fields_set
    absent = missing() if console else []
    if absent:
        note(f"no API and no console: {', '.join(absent)} are not installed: {HINT}")
    return Cast(
        target=target,
        coordinators=coordinators,
        log_level=settings.log_level if asked else "warning",
        http_port=settings.http_port + 1 if settings.http_port else 0,
        insight=insight,
        console=console,
        api=console and not absent,
        traces=is_wanted() and is_installed(),
    )


def _tell(change: Change, telemetry: Prometheus) -> None:
    """A death is news; the first start is not."""
    from caseworks.supervisor import ended_by

    if change.kind != "died":
        return
    telemetry.count("caseworks_process_restarts_total", role=change.program.role)
    when = f"again in {change.again_in_s:g} s" if change.again_in_s else "starting it again"
    note(f"{change.program.name} (pid {change.pid}) died: {ended_by(change.ended)}; {when}")


def _what_next(stage: Stage, app: App, port: int) -> None:
    ports = stage.supervisor.ports
    for name, pid in stage.supervisor.pids.items():
        say(f"  {name:<24} pid {pid:<8} http://{stage.settings.http_host}:{ports.get(name, 0)}")
    say(f"  {'this':<24} {'':<12} http://{stage.settings.http_host}:{port}/metrics")
    if stage.api_port:
        place = f"http://{stage.settings.api_host}:{stage.api_port}"
        say(f"The console is at {place}/, the API at {place}/api/v1, its document at {place}/docs")
    event_type, schema = first_event(app)
    say("Next, in another terminal:")
    say(f"  caseworks publish {event_type} '{json.dumps(sample_of(schema))}' --wait")
    say("  caseworks results --follow")
    say("Ctrl-C stops everything.")


def first_event(app: App) -> tuple[str, dict[str, Any]]:
    """An event type of the app and the schema of its data, to show how it is published."""
    return next(
        (event_type, schema)
        for plan in app.plans
        for event_type, schema in plan.spec.data_schemas.items()
    )


def sample_of(schema: dict[str, Any], defs: dict[str, Any] | None = None) -> Any:
    """The smallest value that a JSON Schema of pydantic's making allows, more or less."""
    known = defs if defs is not None else schema.get("$defs", {})
    if "$ref" in schema:
        return sample_of(known[schema["$ref"].rpartition("/")[2]], known)
    for word in ("default", "const"):
        if word in schema:
            return schema[word]
    if found := schema.get("examples") or schema.get("enum"):
        return found[0]
    if options := schema.get("anyOf"):
        return sample_of(options[0], known)
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", ())
            return {name: sample_of(schema["properties"][name], known) for name in wanted}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return _text(schema)


def _text(schema: dict[str, Any]) -> str:
    formats = {"date-time": "2026-01-31T12:00:00Z", "date": "2026-01-31"}
    length = int(schema.get("minLength", 0))
    return formats.get(str(schema.get("format")), "a" * max(3, length))
