"""`publish` and `results`: business events in, results out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.output import note, plain, say, write_json

if TYPE_CHECKING:
    from caseworks.casebook import Moment, Timeline
    from caseworks.client import Delivered
    from events.broker import Broker, Message
    from events.settings import Settings
    from schemas.event import Event

POLL_S = 0.02
BAD = frozenset(("failed", "expired", "cancelled"))
ATTRIBUTES = frozenset(("type", "data", "id", "source", "subject", "tenant", "priority"))
REFUSED = 1

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
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a business event, and with --wait follow its case to the answer."""
    settings = settings_of(bootstrap)
    given = {"id": id, "source": source, "subject": subject, "tenant": tenant, "priority": priority}
    if (file is None) == (not type):
        raise typer.BadParameter("give either TYPE and JSON, or --file", context)
    if file is not None:
        events = list(_events_in(file, given))
    else:
        text = sys.stdin.read() if data == "-" else data
        events = [_event({**given, "type": type, "data": _json(text, "the data")}, "the event")]
    if wait and len(events) != 1:
        raise typer.BadParameter(f"--wait follows one event, not {len(events)}", context)
    broker = deps_of(context).connect(settings)
    _need_topics(broker, settings)
    if not wait:
        _send(broker, settings, events, as_json=as_json)
        return
    known = _known(broker, settings, events[0], as_json=as_json) if id else None
    if known is None:
        known = _follow(broker, settings, events[0], timeout_s, as_json=as_json)
    raise typer.Exit(known)


def results(
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(help="Default: all of them.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 0x7FFFFFFF,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the results that are there; with --follow those that come."""
    from itertools import islice

    settings = settings_of(bootstrap)
    broker = deps_of(context).connect(settings)
    found = (_coming if follow else _there)(broker, settings, workflow)
    for message in islice(found, limit):
        _show_result(message, as_json=as_json)


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
            yield _event({**given, **_fields(_json(line, place), place)}, place)


def _fields(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or "type" not in value or "data" not in value:
        raise typer.BadParameter(f"{place}: an event is an object with at least type and data")
    if unknown := value.keys() - ATTRIBUTES:
        raise typer.BadParameter(f"{place}: an event has no {', '.join(sorted(unknown))}")
    return value


def _event(fields: dict[str, Any], place: str) -> Event:
    from pydantic import ValidationError

    from caseworks.client import new_event

    data = fields["data"]
    if not isinstance(data, dict):
        raise typer.BadParameter(f"{place}: the data must be a JSON object")
    known = {name: v for name, v in fields.items() if name != "data" and v not in ("", None)}
    try:
        return new_event(known.pop("type"), data, **known)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{place}: {name}: {first['msg']}") from None


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(
            f'{place} is not JSON: {error}; quote it like \'{{"ticket_id": "1"}}\''
        ) from None


def _need_topics(broker: Broker, settings: Settings) -> None:
    """Ask before sending: the client would wait long for a topic that is not there."""
    from caseworks.scan import partition_counts, partitions_of

    partitions_of(partition_counts(broker), [settings.topics.events, settings.topics.cases])


def _send(broker: Broker, settings: Settings, events: list[Event], *, as_json: bool) -> None:
    from contextlib import closing

    from caseworks.client import Publisher

    with closing(Publisher(broker, settings)) as publisher:
        for event in events:
            publisher.send(event)
        publisher.flush()
    for event in events:
        if as_json:
            write_json({"case_id": event.case_id, "id": event.id, "type": event.type})
        elif len(events) == 1:
            say(f"case {event.case_id}")
    if not as_json and len(events) != 1:
        say(f"published {len(events)} events")


# --- following one case


def _known(broker: Broker, settings: Settings, event: Event, *, as_json: bool) -> int | None:
    """The exit code if an event of this name was answered before: no second answer will come."""
    from caseworks.casebook import find

    found = find(broker, settings, event.case_id)
    if found is None or not found.results:
        return None
    note(f"this event was answered before: case {event.case_id}")
    _show_answer(found.results[-1], as_json=as_json)
    return 1 if found.status in BAD else 0


def _follow(
    broker: Broker, settings: Settings, event: Event, timeout_s: float, *, as_json: bool
) -> int:
    """Publish and tell what happens; returns the exit code."""
    from contextlib import closing

    from caseworks.casebook import Timeline

    show = _moments_as_json if as_json else _moments_as_text(event.time.timestamp())
    with closing(broker.reader()) as reader:
        tail = _tail(broker, settings, reader, event)
        _send(broker, settings, [event], as_json=as_json)
        timeline, deadline = Timeline(), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for message in tail.poll():
                end = _told(message, event, timeline, show, as_json=as_json)
                if end is not None:
                    return end
            time.sleep(POLL_S)
    note(f"no result within {timeout_s:g} s: caseworks case show {event.case_id}")
    return REFUSED


def _tail(broker: Broker, settings: Settings, reader: Any, event: Event) -> Any:
    """The few partitions on which something about this event can appear."""
    from caseworks.scan import Tail, partition_counts, results_topics
    from events.broker import TopicPartition
    from events.partitioner import partition_of

    counts, topics = partition_counts(broker), settings.topics
    keys = {topics.cases: event.case_id, topics.dlq(topics.events): event.subject or event.id}
    keys |= dict.fromkeys(results_topics(counts, topics), event.subject or event.id)
    return Tail.at_end(
        reader,
        [
            TopicPartition(topic, partition_of(key.encode(), counts[topic]))
            for topic, key in keys.items()
            if topic in counts
        ],
    )


Show = Callable[["Moment"], None]


def _told(
    message: Message, event: Event, timeline: Timeline, show: Show, *, as_json: bool
) -> int | None:
    """Tell what a record says about the event's case; the exit code when that is the end."""
    from caseworks.casebook import read_state
    from caseworks.client import delivered
    from schemas.case import Case

    if message.topic.endswith(".dlq"):
        return _refused(message, event)
    if message.key == event.case_id.encode():
        state = read_state(message)
        if isinstance(state, Case):
            for moment in timeline.changed(state, message.timestamp_ms / 1000):
                show(moment)
        return None
    if message.value is None or event.case_id.encode() not in message.value:
        return None
    found = delivered(message)
    if found.result.case_id != event.case_id:
        return None
    for moment in timeline.answered(found.result):
        show(moment)
    _show_answer(found, as_json=as_json)
    return 1 if found.result.status in BAD else 0


def _refused(message: Message, event: Event) -> int | None:
    from events.dead_letters import read_letter

    if message.header("ce_id") != event.id or message.header("ce_source") != event.source:
        return None
    letter = read_letter(message)
    note(f"refused: {plain(letter.reason)}: {plain(letter.error)}")
    place = f"{message.topic}:{message.partition}:{message.offset}"
    note(f"it is a dead letter now: caseworks dlq show {place}")
    return REFUSED


def _moments_as_text(start: float) -> Show:
    def show(moment: Moment) -> None:
        after = f"{max(0.0, moment.at - start) * 1000:7.0f} ms"
        say(f"{after}  {plain(moment.step):<16} {plain(moment.what):<11} {plain(moment.detail)}")

    return show


def _moments_as_json(moment: Moment) -> None:
    write_json(moment.as_json())


def _show_answer(found: Delivered, *, as_json: bool) -> None:
    if as_json:
        write_json({"type": found.type, "result": found.result.model_dump(mode="json")})
        return
    result = found.result
    say(f"{plain(found.type)} ({result.status})")
    say(json.dumps(result.output, indent=2, ensure_ascii=True, default=str))


# --- results


def _there(broker: Broker, settings: Settings, workflow: str) -> Iterator[Message]:
    from contextlib import closing

    from caseworks.scan import partition_counts, partitions_of, records

    counts = partition_counts(broker)
    with closing(broker.reader()) as reader:
        for source in partitions_of(counts, _result_topics(counts, settings, workflow)):
            yield from records(reader, source)


def _coming(broker: Broker, settings: Settings, workflow: str) -> Iterator[Message]:
    from contextlib import closing

    from caseworks.scan import Follower, ends, partition_counts, partitions_of

    counts = partition_counts(broker)
    topics = _result_topics(counts, settings, workflow)
    starts = ends(broker, partitions_of(counts, topics))
    note(f"waiting for results of {', '.join(topics)}; Ctrl-C ends it")
    follower = Follower(broker, topics, starts, namespace=settings.namespace)
    with closing(follower):
        while True:
            yield from follower.take(0.5)


def _result_topics(counts: dict[str, int], settings: Settings, workflow: str) -> list[str]:
    from caseworks.scan import results_topics
    from events.errors import SetupError

    if workflow:
        return [settings.topics.results(workflow)]
    found = results_topics(counts, settings.topics)
    if not found:
        raise SetupError("there are no result topics yet", hint="caseworks up")
    return found


def _show_result(message: Message, *, as_json: bool) -> None:
    from pydantic import ValidationError

    from caseworks.client import delivered

    try:
        found = delivered(message)
    except ValidationError:
        note(f"skipped {message.topic}:{message.partition}:{message.offset}: it is no result")
        return
    result = found.result
    if as_json:
        told = {"type": found.type, "id": found.id, "result": result.model_dump(mode="json")}
        write_json(told)
        return
    output = json.dumps(result.output, ensure_ascii=True, default=str)
    say(
        f"{result.closed_at:%H:%M:%S}  {plain(found.type)}  {result.status}  "
        f"{plain(result.event.id)}  {result.case_id}  {output[:200]}"
    )
