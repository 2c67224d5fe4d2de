"""The commands and what `caseworks --help` says of them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from caseworks.cli.agent import agent
from caseworks.cli.api import api
from caseworks.cli.approvals import approvals
from caseworks.cli.attention import attention
from caseworks.cli.breaker import breaker
from caseworks.cli.cases import case
from caseworks.cli.check import check
from caseworks.cli.demo import demo
from caseworks.cli.dlq import dlq
from caseworks.cli.doctor import doctor
from caseworks.cli.effect import effect
from caseworks.cli.init import init
from caseworks.cli.insight import insight
from caseworks.cli.kafka import kafka
from caseworks.cli.lag import lag
from caseworks.cli.output import say
from caseworks.cli.projection import projection
from caseworks.cli.publishing import publish
from caseworks.cli.results import results
from caseworks.cli.roles import coordinator, worker
from caseworks.cli.schemas import schemas
from caseworks.cli.topics import topics
from caseworks.cli.trace import trace
from caseworks.cli.up import up
from caseworks.cli.workflow import workflow

app = typer.Typer(
    name="caseworks",
    help="Event-driven multi-agent workers on Apache Kafka: one result for every event.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

START, USE, LOOK, PARTS = "Start", "Use", "Look", "Parts"

app.command(rich_help_panel=START)(demo)
app.command(rich_help_panel=START)(init)
app.command(rich_help_panel=START)(up)
app.command(rich_help_panel=USE)(publish)
app.command(rich_help_panel=USE)(results)
app.add_typer(approvals, name="approvals", rich_help_panel=USE)
app.command(rich_help_panel=LOOK)(attention)
app.add_typer(case, name="case", rich_help_panel=LOOK)
app.add_typer(dlq, name="dlq", rich_help_panel=LOOK)
app.add_typer(agent, name="agent", rich_help_panel=LOOK)
app.add_typer(breaker, name="breaker", rich_help_panel=LOOK)
app.add_typer(effect, name="effect", rich_help_panel=LOOK)
app.command(rich_help_panel=LOOK)(lag)
app.command(rich_help_panel=LOOK)(doctor)
app.command(rich_help_panel=LOOK)(check)
app.command(rich_help_panel=PARTS)(coordinator)
app.command(rich_help_panel=PARTS)(worker)
app.command(rich_help_panel=PARTS)(api)
app.command(rich_help_panel=PARTS)(projection)
app.add_typer(insight, name="insight", rich_help_panel=PARTS)
app.add_typer(trace, name="trace", rich_help_panel=PARTS)
app.add_typer(kafka, name="kafka", rich_help_panel=PARTS)
app.add_typer(topics, name="topics", rich_help_panel=PARTS)
app.add_typer(schemas, name="schemas", rich_help_panel=PARTS)
app.add_typer(workflow, name="workflow", rich_help_panel=LOOK)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            say(version("caseworks"))
        except PackageNotFoundError:
            say("not installed: it runs from its source")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """What all commands share."""
    if debug:
        os.environ["CASEWORKS_DEBUG"] = "1"
