"""`schemas export|check`: the wire contract for other languages, and whether it still holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import app_of, settings_of
from caseworks.cli.output import say

if TYPE_CHECKING:
    from schemas.asyncapi import Channel

schemas = typer.Typer(help="JSON Schema and AsyncAPI of the wire.", no_args_is_help=True)

PUBLISHED = Path("schemas/published")
BASELINE = Path("schemas/baseline")

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the files are.")]
AppOption = Annotated[
    str, typer.Option("--app", metavar="MODULE:APP", help="Of this app, with its event types.")
]


@schemas.command()
def export(
    folder: Folder = PUBLISHED,
    app: AppOption = "",
    freeze: Annotated[
        bool, typer.Option("--freeze", help="A release: promise this until the next major one.")
    ] = False,
) -> None:
    """Write a JSON Schema for each message, and an AsyncAPI document of the topics."""
    from schemas import export as files

    channels, data = _contract(app)
    changed = files.export(folder, channels, data)
    for path in changed:
        say(f"wrote {path}" if path.exists() else f"removed {path}")
    if freeze:
        say(f"wrote {files.freeze(BASELINE)}")
    say(f"{folder} is up to date")


@schemas.command()
def check(folder: Folder = PUBLISHED, app: AppOption = "") -> None:
    """Fail when the published files differ from the models, or a change breaks an old reader."""
    from events.errors import SetupError
    from schemas import export as files

    if not folder.is_dir():
        raise SetupError(f"there is no folder {folder}", hint="caseworks schemas export")
    channels, data = _contract(app)
    drift = files.check(folder, channels, data)
    baseline = files.baseline_path(folder.parent / BASELINE.name)
    broken = files.broken_promises(baseline.parent) if baseline.exists() else []
    for line in (*drift, *broken):
        say(line)
    if broken:
        raise SetupError(
            f"{len(broken)} changes break old readers or writers",
            hint="make them additive, or raise schemas.base.SCHEMA_MAJOR",
        )
    if drift:
        raise SetupError(f"{len(drift)} files drifted", hint="caseworks schemas export")
    say("the published files are those of the models, and no promise is broken")


def _contract(app: str) -> tuple[list[Channel], dict[str, dict[str, Any]]]:
    from caseworks.contract import app_contract, channels

    return app_contract(app_of(app), settings_of()) if app else (channels(), {})
