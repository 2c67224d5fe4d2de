"""`dlq diff`: a dead letter beside another one, or beside what its replay would send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, deps_of, json_of, settings_of
from caseworks.cli.dlq.options import METAVAR, Place
from caseworks.cli.output import plain, say

if TYPE_CHECKING:
    from caseworks.dead_mail.letters import Dead
    from events.broker import Broker
    from events.settings import Settings


def diff(
    context: typer.Context,
    place: Place,
    other: Annotated[
        str, typer.Argument(metavar=f"[{METAVAR}]", help="Another letter.", show_default=False)
    ] = "",
    *,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What it would get instead, as JSON."),
    ] = None,
    patch: Annotated[
        str, typer.Option(metavar="JSON", help="An RFC 7396 merge patch.", show_default=False)
    ] = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Compare a letter with another one, or with what its replay would send now.

    Writes a unified diff of canonical JSON; nothing where they are the same.
    """
    from caseworks.dead_mail.editing import diff as compare
    from caseworks.dead_mail.editing import readable
    from caseworks.dead_mail.reading import find

    if sum(map(bool, (other, file, patch))) > 1:
        raise typer.BadParameter("compare with one: a letter, --file or --patch", context)
    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    dead = find(broker, place)
    if other:
        after = find(broker, other).message.value
    else:
        after = _sent_now(broker, settings, dead, deps.clock(), file, patch)
    name = other or "as it would be sent now"
    for line in compare(readable(dead.message.value), readable(after), place, name).splitlines():
        say(plain(line))


def _sent_now(
    broker: Broker, settings: Settings, dead: Dead, now: float, file: Path | None, patch: str
) -> bytes | None:
    from caseworks.dead_mail.changes import edited, patched
    from caseworks.dead_mail.letters import kind_of
    from caseworks.dead_mail.preview import task_as_sent

    given = None
    if file is not None:
        given = edited(dead, settings, file.read_text(encoding="utf-8"))
    elif patch:
        given = patched(dead, settings, json_of(patch, "the patch"))
    if kind_of(dead.message.topic, settings.topics) == "task":
        return task_as_sent(broker, settings, dead, now, given.input if given else None)
    return dead.message.value if given is None else given.value
