"""`topics` and `lag`: what exists on the broker, and how far behind its readers are."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from events.broker import Broker
    from events.settings import Settings

topics = typer.Typer(help="The topics of an app: list, create, check.", no_args_is_help=True)


@topics.command(name="list")
def list_(
    context: typer.Context, bootstrap: BootstrapOption = "", as_json: JsonOption = False
) -> None:
    """List the topics of this namespace on the broker."""
    settings = settings_of(bootstrap)
    with closing(deps_of(context).connect(settings).admin()) as admin:
        there = admin.topics()
    prefix = f"{settings.namespace}."
    found = [state for name, state in sorted(there.items()) if name.startswith(prefix)]
    if as_json:
        for state in found:
            write_json(
                {
                    "name": state.name,
                    "partitions": state.partitions,
                    "config": dict(state.config),
                }
            )
        return
    rows = [
        (s.name, s.partitions, " ".join(f"{k}={v}" for k, v in sorted(s.config.items())))
        for s in found
    ]
    write_table("", ("topic", "partitions", "settings"), rows, right="1")


@topics.command()
def create(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the topics that an app needs and that are missing."""
    from caseworks.topics import ensure_topics

    settings = settings_of(bootstrap)
    made = ensure_topics(app_of(app), settings, deps_of(context).connect(settings))
    if as_json:
        write_json({"created": list(made)})
        return
    for name in made:
        say(f"created {name}")
    say("all topics are there")


@topics.command()
def check(
    context: typer.Context, app: AppOption = DEFAULT_APP, bootstrap: BootstrapOption = ""
) -> None:
    """Check that the topics of an app are there and fit together."""
    from caseworks.topics import check_topics

    settings = settings_of(bootstrap)
    partitions = check_topics(app_of(app), settings, deps_of(context).connect(settings))
    say(f"all topics are there; the inbox has {partitions} partitions")


def lag(
    context: typer.Context,
    each: Annotated[bool, typer.Option("--partitions", help="One row a partition.")] = False,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how many records each consumer group has yet to do.

    The marker at the end of a transaction counts as one until something comes after it.
    """
    from caseworks.lag import behind

    settings = settings_of(bootstrap)
    broker = deps_of(context).connect(settings)
    with closing(broker.admin()) as admin:
        rows = [
            {
                "group": group,
                "topic": one.source.topic,
                "partition": one.source.partition,
                "committed": one.committed,
                "end": one.end,
                "lag": behind(one),
                "members": members,
            }
            for group in _groups(broker, settings)
            for members in (admin.members(group),)
            for one in admin.lag(group)
        ]
    if as_json:
        for row in rows:
            write_json(row)
        return
    if each:
        columns = ("group", "topic", "partition", "committed", "end", "lag")
        write_table("", columns, [[row[c] for c in columns] for row in rows], right="2 3 4 5")
        return
    totals: dict[tuple[object, ...], int] = {}
    for row in rows:
        place = (row["group"], row["members"], row["topic"])
        totals[place] = totals.get(place, 0) + int(str(row["lag"]))
    shown = [(*place, total) for place, total in totals.items()]
    write_table("", ("group", "members", "topic", "lag"), shown, right="1 3")


def _groups(broker: Broker, settings: Settings) -> tuple[str, ...]:
    """The groups of every agent whose tasks have a topic here."""
    from caseworks.lag import groups_of
    from caseworks.scan import partition_counts, topics_below

    prefix = settings.topics.tasks("")
    names = topics_below(partition_counts(broker), prefix)
    agents = {name.removeprefix(prefix).partition(".")[0] for name in names}
    return tuple(groups_of(settings.topics, agents))
