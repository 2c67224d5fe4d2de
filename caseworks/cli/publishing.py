"""`publish`: business events in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of

if TYPE_CHECKING:
    from events.broker import Broker
    from events.settings import Settings
    from schemas.event import Event

ATTRIBUTES = frozenset(
    ("type", "data", "id", "source", "subject", "tenant", "priority", "traceparent")
)

Text = Annotated[str, typer.Option(show_default=False)]


def publish(
    context: typer.Context,
    type: Annotated[str, typer.Argument(metavar="[TYPE]", help="As ticket.created.")] = "",
    data: Annotated[str, typer.Argument(metavar="[JSON]", help="Its data; - reads stdin.")] = "",
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Show the case until its result.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", help="How long to wait.")] = 60.0,
    file: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Events, one JSON object a line.")
    ] = None,
    id: Annotated[str, typer.Option(help="Default: a random one.", show_default=False)] = "",
    source: Annotated[str, typer.Option(help="Who says so.")] = "caseworks/cli",
    subject: Text = "",
    tenant: Text = "",
    priority: Annotated[str, typer.Option(help="urgent, normal or deferred.")] = "normal",
    traceparent: Annotated[
        str,
        typer.Option(
            help="The trace that it is part of.", envvar="TRACEPARENT", show_default=False
        ),
    ] = "",
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a business event, and with --wait follow its case to the answer."""
    settings = settings_of(bootstrap)
    given = {"id": id, "source": source, "subject": subject, "tenant": tenant, "priority": priority}
    given["traceparent"] = traceparent
    if (file is None) == (not type):
        raise typer.BadParameter("give either TYPE and JSON, or --file", context)
    if file is not None:
        events = list(_events_in(file, given))
    else:
        text = sys.stdin.read() if data == "-" else data
        events = [_event({**given, "type": type, "data": json_of(text, "the data")}, "the event")]
    if wait and len(events) != 1:
        raise typer.BadParameter(f"--wait follows one event, not {len(events)}", context)
    broker = deps_of(context).connect(settings)
    _need_topics(broker, settings)
    from caseworks.cli import following

    if not wait:
        following.send(broker, settings, events)
        following.tell_published(events, as_json=as_json)
        return
    [event] = events
    code = following.answered_before(broker, settings, event, as_json=as_json) if id else None
    if code is None:
        code = following.publish_and_follow(broker, settings, event, timeout_s, as_json=as_json)
    raise typer.Exit(code)


# --- what is published


def _events_in(file: Path, given: dict[str, str]) -> Iterator[Event]:
    from events.errors import SettingsError

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{file}:{number}"
            yield _event({**given, **_fields(json_of(line, place), place)}, place)


def _fields(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or "type" not in value or "data" not in value:
        raise typer.BadParameter(f"{place}: an event is an object with at least type and data")
    if unknown := value.keys() - ATTRIBUTES:
        raise typer.BadParameter(f"{place}: an event has no {', '.join(sorted(unknown))}")
    return value


def _event(fields: dict[str, Any], place: str) -> Event:
    from pydantic import ValidationError

    from caseworks.client import new_event
    from events.trace_ids import read_traceparent

    data = fields["data"]
    if not isinstance(data, dict):
        raise typer.BadParameter(f"{place}: the data must be a JSON object")
    known = {name: v for name, v in fields.items() if name != "data" and v not in ("", None)}
    if "traceparent" in known and read_traceparent(str(known["traceparent"])) is None:
        raise typer.BadParameter(f"{place}: no W3C traceparent: {known['traceparent']!r}")
    try:
        return new_event(known.pop("type"), data, **known)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{place}: {name}: {first['msg']}") from None


def _need_topics(broker: Broker, settings: Settings) -> None:
    """Ask before sending: the client would wait long for a topic that is not there."""
    from caseworks.scan import partition_counts, partitions_of

    partitions_of(partition_counts(broker), [settings.topics.events, settings.topics.cases])
