"""`attention`: what a person should look at now, each with the command that mends it."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, app_of, deps_of, settings_of
from caseworks.cli.output import note, plain, say, write_json

if TYPE_CHECKING:
    from caseworks.attention import Attention, Concern

CLEAR = "\x1b[H\x1b[2J"
CALM = "nothing needs a person now"


def attention(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again; Ctrl-C ends it.")
    ] = False,
    every_s: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between looks.")
    ] = 5.0,
    times: Annotated[int, typer.Option(min=0, help="Looks of --watch; 0: until Ctrl-C.")] = 0,
    window_s: Annotated[
        float, typer.Option("--window", min=1, help="Seconds without movement that are bad.")
    ] = 30.0,
    app: Annotated[
        str,
        typer.Option("--app", metavar="MODULE:APP", help="Says what agents call: breakers."),
    ] = "",
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a person should look at now, the worst first, and the command that mends each.

    Whether partitions stand still needs --watch, or the console, which looks again and again. What
    could not be looked at is named on stderr.
    """
    from caseworks.attention.gather import Lookout
    from caseworks.lag import THOROUGH, Surveyor
    from caseworks.projection.connection import projection_path
    from caseworks.projection.read import ReadModel

    deps = deps_of(context)
    settings = settings_of(bootstrap).model_copy(update={"lag_window_s": window_s})
    specs = {a.name: a.spec for a in app_of(app).agents.values()} if app else {}
    broker = deps.connect(settings)
    surveyor = Surveyor(broker, settings, specs=specs, clock=deps.clock, effort=THOROUGH)
    reads = ReadModel(projection_path(settings.data_dir, settings.namespace), clock=deps.clock)
    lookout = Lookout(broker, settings, reads, surveyor.look, clock=deps.clock, thorough=True)
    looks = 0
    with closing(surveyor), closing(reads):
        while True:
            found = lookout.look()
            looks += 1
            if watch and not as_json and sys.stdout.isatty():
                say(CLEAR)
            _as_json(found) if as_json else _as_text(found, deps.clock())
            if not watch or looks == times:
                return
            time.sleep(every_s)


def _as_json(found: Attention) -> None:
    import msgspec

    write_json(msgspec.to_builtins(found))


def _as_text(found: Attention, now: float) -> None:
    for each in found.items:
        _write(each, now)
    left = ", ".join(f"{n} {plain(kind)}" for kind, n in found.left_out.items())
    if left:
        say(f"left out: {left}")
    if not found.items:
        say(CALM)
    for gap in found.missing:
        note(f"not looked at: {plain(gap)}")


def _write(concern: Concern, now: float) -> None:
    since = "" if concern.since is None else f"  ({_age(concern.since, now)})"
    say(f"{concern.severity:<8}  {plain(concern.what)}{since}")
    if concern.why:
        say(f"          {plain(concern.why)}")
    say(f"          $ {plain(concern.command)}")


def _age(since: str, now: float) -> str:
    from datetime import datetime

    seconds = max(0.0, now - datetime.fromisoformat(since).timestamp())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
