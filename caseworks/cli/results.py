"""`results`: what came out, and what comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.output import note, plain, say, write_json

if TYPE_CHECKING:
    from events.broker import Broker, Message
    from events.settings import Settings


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
