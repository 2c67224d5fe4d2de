"""`agent list|pause|resume`: whether agents take new tasks."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.breaker import ByOption, TimeoutOption, WhyOption, give
from caseworks.cli.output import say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.fleet import AgentState

agent = typer.Typer(help="Whether agents take new tasks.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An agent.")]
VersionOption = Annotated[
    str, typer.Option("--version", help="Only this version of it.", show_default=False)
]


@agent.command(name="list")
def list_(
    context: typer.Context, bootstrap: BootstrapOption = "", as_json: JsonOption = False
) -> None:
    """List the agents: at work or paused, their worker processes, the tasks that wait."""
    from caseworks.fleet import agents

    settings = settings_of(bootstrap)
    found = agents(deps_of(context).connect(settings), settings)
    if as_json:
        for each in found:
            paused = each.paused.model_dump(mode="json") if each.paused else None
            write_json({**asdict(each), "paused": paused})
        return
    columns = ("agent", "state", "version", "workers", "waiting", "since", "by", "reason")
    write_table("", columns, [_row(each) for each in found], right="3 4")
    say(f"{sum(each.paused is not None for each in found)} of {len(found)} paused")


@agent.command()
def pause(
    context: typer.Context,
    name: NameArgument,
    *,
    version: VersionOption = "",
    by: ByOption = "",
    why: WhyOption = "",
    timeout_s: TimeoutOption = 5.0,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give it no new tasks: they wait in Kafka, and what runs ends as it would."""
    _order(context, name, (version, by, why), timeout_s, bootstrap, paused=True, as_json=as_json)


@agent.command()
def resume(
    context: typer.Context,
    name: NameArgument,
    *,
    by: ByOption = "",
    why: WhyOption = "",
    timeout_s: TimeoutOption = 5.0,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give it tasks again, every version of it."""
    _order(context, name, ("", by, why), timeout_s, bootstrap, paused=False, as_json=as_json)


def _order(
    context: typer.Context,
    name: str,
    said: tuple[str, str, str],
    timeout_s: float,
    bootstrap: str,
    *,
    paused: bool,
    as_json: bool,
) -> None:
    from schemas.control import PauseOrder

    version, by, why = said
    request = PauseOrder(
        agent=name, paused=paused, agent_version=version, by=by or getpass.getuser(), why=why
    )
    give(context, request, timeout_s, bootstrap, look="agent list", as_json=as_json)


def _row(found: AgentState) -> tuple[object, ...]:
    paused = found.paused
    return (
        found.agent,
        "at work" if paused is None else "paused",
        paused.agent_version if paused else "",
        found.workers,
        found.waiting,
        f"{paused.at:%Y-%m-%d %H:%M:%S}" if paused and paused.at else "",
        paused.by if paused else "",
        paused.reason if paused else "",
    )
