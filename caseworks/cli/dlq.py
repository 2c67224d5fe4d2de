"""`dlq list|show|replay`: dead letters, why they died, and putting them back."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.output import plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.dead_mail import Dead

dlq = typer.Typer(help="Dead letters: list, show, replay.", no_args_is_help=True)

REPLAY_MAX = 10_000
VALUE_CHARS_MAX = 4000
Place = Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET")]
Reason = Annotated[str, typer.Option(help="Only those that died of it.", show_default=False)]


@dlq.command(name="list")
def list_(
    context: typer.Context,
    reason: Reason = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest dead letters, the newest last."""
    from caseworks.dead_mail import newest

    settings = settings_of(bootstrap)
    found = newest(deps_of(context).connect(settings), settings, limit, reason)
    if as_json:
        for dead in found:
            write_json(_as_json(dead))
        return
    rows = [
        (
            dead.place,
            f"{dead.letter.timestamp:%Y-%m-%d %H:%M:%S}",
            dead.letter.reason,
            dead.letter.replays or "",
            dead.letter.error[:80],
        )
        for dead in found
    ]
    write_table("", ("dead letter", "when", "reason", "replays", "error"), rows, right="3")
    say(f"{len(found)} shown; caseworks dlq show TOPIC:PARTITION:OFFSET tells all of one")


@dlq.command()
def show(
    context: typer.Context,
    place: Place,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show all of one dead letter."""
    from caseworks.dead_mail import find

    dead = find(deps_of(context).connect(settings_of(bootstrap)), place)
    if as_json:
        write_json(_as_json(dead))
        return
    for name, value in dead.letter:
        if value not in (None, ""):
            say(f"{name:<11} {plain(value)}")
    for name, header in dead.message.headers:
        if not name.startswith("cw_dlq_"):
            say(f"{plain(name):<20} {plain((header or b'').decode('utf-8', 'backslashreplace'))}")
    say(f"{'key':<11} {_text(dead.message.key)}")
    say(f"{'value':<11} {_text(dead.message.value)}")


@dlq.command()
def replay(
    context: typer.Context,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC:PARTITION:OFFSET]...")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All of them (with --reason: of it).")
    ] = False,
    reason: Reason = "",
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back: events as they were, tasks into their cases."""
    from caseworks.dead_mail import find, newest, replay

    if bool(places) == all_:
        raise typer.BadParameter("name the dead letters, or say --all", context)
    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    letters = (
        newest(broker, settings, REPLAY_MAX, reason)
        if all_
        else [find(broker, place) for place in places or ()]
    )
    made = replay(broker, settings, letters, deps.clock(), getpass.getuser())
    for dead, record in zip(letters, made, strict=True):
        if as_json:
            write_json({"dead_letter": dead.place, "to": record.topic})
        else:
            say(f"{dead.place} -> {record.topic}")
    if not as_json:
        say(f"replayed {len(made)}")


def _text(value: bytes | None) -> str:
    if value is None:
        return "null"
    text = value[:VALUE_CHARS_MAX].decode("utf-8", "backslashreplace")
    more = f" … ({len(value)} bytes)" if len(value) > VALUE_CHARS_MAX else ""
    return plain(text) + more


def _as_json(dead: Dead) -> dict[str, Any]:
    message = dead.message
    return {
        "place": dead.place,
        **dead.letter.model_dump(mode="json"),
        "headers": [
            [name, (value or b"").decode("utf-8", "backslashreplace")]
            for name, value in message.headers
            if not name.startswith("cw_dlq_")
        ],
        "key": None if message.key is None else message.key.decode("utf-8", "backslashreplace"),
        "value": None
        if message.value is None
        else message.value.decode("utf-8", "backslashreplace"),
    }
