"""`doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from caseworks.cli.base import (
    DEFAULT_APP,
    AppOption,
    BootstrapOption,
    JsonOption,
    app_of,
    deps_of,
    settings_of,
)
from caseworks.cli.output import say, write_json, write_table

UNWELL = 1


def doctor(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with installation, broker, topics and app, and how to mend it."""
    from caseworks.checkup import Patient, examine

    patient = Patient(
        settings=lambda: settings_of(bootstrap),
        app=lambda: app_of(app),
        connect=deps_of(context).connect,
        folder=Path.cwd(),
    )
    found = list(examine(patient))
    if as_json:
        for finding in found:
            write_json(asdict(finding))
    else:
        rows = [(each.what, each.mark, each.found, each.mend) for each in found]
        write_table("", ("what", "", "found", "mend it"), rows)
    problems = sum(finding.mark == "problem" for finding in found)
    if problems:
        if not as_json:
            say(f"problems: {problems}")
        raise typer.Exit(UNWELL)
