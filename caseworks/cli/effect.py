"""`effect list|resolve`: outside calls of which nobody knows whether they happened."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of
from caseworks.cli.output import plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.effects import Unsettled

effect = typer.Typer(
    help="Outside calls of which nobody knows whether they happened.", no_args_is_help=True
)

IdArgument = Annotated[str, typer.Argument(metavar="EFFECT", help="As `effect list` names it.")]


@effect.command(name="list")
def list_(
    context: typer.Context, bootstrap: BootstrapOption = "", as_json: JsonOption = False
) -> None:
    """List the calls that were begun and have no result."""
    from caseworks.effects import open_effects

    deps, settings = deps_of(context), settings_of(bootstrap)
    found, now = open_effects(deps.connect(settings), settings), deps.clock()
    if as_json:
        for each in found:
            claim = None if each.claim is None else each.claim.model_dump(mode="json")
            running = each.running_at(now)
            write_json({"effect_id": each.effect_id, "running": running, "claim": claim})
        return
    columns = ("effect", "begun", "by", "attempt", "now", "error")
    write_table("", columns, [_row(each, now) for each in found])
    unknown = sum(not each.running_at(now) for each in found)
    say(f"{unknown} of {len(found)} are over, and nobody knows whether they happened")


@effect.command()
def resolve(
    context: typer.Context,
    effect_id: IdArgument,
    *,
    happened: Annotated[
        str, typer.Option(metavar="JSON", help="It happened, with this result of its call.")
    ] = "",
    did_not_happen: Annotated[
        bool, typer.Option("--did-not-happen", help="It did not, and will not: call again.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who found out; default: you.", show_default=False)] = "",
    why: Annotated[
        str, typer.Option(help="How you know, for who looks later.", show_default=False)
    ] = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Say what you found out; then replay the task: it goes on by it."""
    if bool(happened) == did_not_happen:
        raise typer.BadParameter("say either --happened JSON or --did-not-happen")
    from caseworks import effects

    deps, settings = deps_of(context), settings_of(bootstrap)
    said = effects.resolve(
        deps.connect(settings),
        settings,
        effect_id,
        happened=not did_not_happen,
        result=json_of(happened, "--happened") if happened else None,
        by=by or getpass.getuser(),
        why=why,
        now=deps.clock(),
    )
    word = "did not happen" if did_not_happen else "happened"
    say(f"{plain(effect_id)} {word}; then: caseworks dlq replay --case {plain(said.case_id)}")


def _row(found: Unsettled, now: float) -> tuple[object, ...]:
    claim, running = found.claim, found.running_at(now)
    state = "may be under way" if running else "unknown"
    if claim is None:
        return found.effect_id, "", "", "", state, "its record cannot be read"
    begun = f"{claim.at:%Y-%m-%d %H:%M:%S}"
    return found.effect_id, begun, claim.worker, claim.attempt, state, found.error
