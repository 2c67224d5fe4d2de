"""`topics` and `lag`: what exists on the broker, and how far behind its readers are."""

from __future__ import annotations

from contextlib import closing

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
