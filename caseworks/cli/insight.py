"""`insight`: the role, and `insight show|report`: what it has found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from caseworks.cli.base import (
    DEFAULT_APP,
    AppOption,
    BootstrapOption,
    InstanceOption,
    JsonOption,
    deps_of,
    settings_of,
)
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.insight.snapshot import Snapshot

insight = typer.Typer(
    help="Rates, drift, alerts and savings; without a command: run the role that counts them.",
    invoke_without_command=True,
)

Window = Literal["hour", "day", "month"]
COLUMNS = (
    "who",
    "cases",
    "good",
    "errors",
    "escalated",
    "overridden",
    "sure",
    "p50",
    "p99",
    "usd each",
    "drift",
)


@insight.callback()
def role(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    instance: InstanceOption = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Run the role: it makes a fact of each result, and counts them."""
    if context.invoked_subcommand is not None:
        return
    from caseworks.cli.roles import serve

    serve(
        deps_of(context),
        "insight",
        app,
        (bootstrap, instance),
        lambda _system: {},
        lambda system, stop: system.run_insight(stop),
    )


def _snapshot() -> Snapshot:
    from caseworks.insight.snapshot import path_of, read

    settings = settings_of()
    return read(path_of(settings.data_dir, settings.namespace))


@insight.command()
def show(
    window: Annotated[Window, typer.Option(help="Over how long.")] = "hour",
    as_json: JsonOption = False,
) -> None:
    """Show how everything does, and what is out of bounds."""
    found = _snapshot()
    if as_json:
        write_json(found)
        return
    write_table(
        "",
        COLUMNS,
        (_row(each, window) for each in found["subjects"]),
        right="1 2 3 4 5 6 7 8 9 10",
    )
    for alert in found["alerts"]:
        say(
            plain(f"alert {alert['rule']} {alert['scope']}: {alert['says']} since {alert['since']}")
        )
    business = found["business"]
    if business is not None:
        hours, net = business["hours_saved"], business["net_benefit_usd"]
        say(f"{hours:,.1f} hours saved and {net:,.2f} USD net in {business['days']:.1f} days")
    note(f"as of {found['at']}; caseworks insight report writes a page")


@insight.command()
def report(
    to: Annotated[Path, typer.Option("--to", help="The page to write.")] = Path("insight.html"),
    baseline: Annotated[
        Path | None,
        typer.Option(help="A YAML file: what the work costs without; else the role's own."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page with plots: how it does, and what it saves."""
    from caseworks.insight.report import page, with_baseline

    found = _snapshot()
    if baseline is not None:
        found = with_baseline(found, baseline)
    if as_json:
        write_json(found)
        return
    try:
        to.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{to} cannot be written: {error.strerror}") from None
    say(f"wrote {to}")


def _row(subject: dict[str, Any], window: str) -> tuple[str, ...]:
    rates = subject[window]
    drift = subject["drift"]
    return (
        plain(f"{subject['kind']} {subject['name']}".strip()),
        str(rates["cases"]),
        _percent(rates["success"]),
        _percent(rates["errors"]),
        _percent(rates["escalated"]),
        _percent(rates["overridden"]),
        "" if rates["confidence"] is None else f"{rates['confidence']:.2f}",
        _ms(rates["p50_ms"]),
        _ms(rates["p99_ms"]),
        rates["usd_per_case"] or "",
        "" if drift is None else f"{drift['psi']:.2f}" + (" !" if drift["drifted"] else ""),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"
