"""`dlq replay|drop`: putting dead letters back, or saying that nobody will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of
from caseworks.cli.dlq.options import (
    Agent,
    AllWaiting,
    By,
    CaseId,
    DryRun,
    Edit,
    Filters,
    Force,
    Limit,
    Patch,
    Places,
    Rate,
    Reason,
    ReplaysMax,
    Resume,
    RunName,
    Since,
    Tenant,
    Topic,
    Until,
    Where,
    Why,
    Yes,
    name_of,
)

if TYPE_CHECKING:
    from caseworks.cli.dlq.asked import Asked
    from caseworks.cli.dlq.jobs import Desk

REPLAYS_MAX = 3


def replay(
    context: typer.Context,
    places: Places = None,
    *,
    agent: Agent = "",
    reason: Reason = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    case_id: CaseId = "",
    topic: Topic = "",
    where: Where = "",
    all_: AllWaiting = False,
    edit: Edit = False,
    patch: Patch = "",
    rate: Rate = "100/s",
    limit: Limit = None,
    replays_max: ReplaysMax = REPLAYS_MAX,
    force: Force = False,
    name: RunName = "",
    resume: Resume = "",
    by: By = "",
    why: Why = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back: tasks into their cases, events and commands to where they were.

    A task goes back into its open or re-opened case; what its siblings gave is not done again.
    Each letter and its audit record are written in one transaction. A selection is a run: the
    transaction also moves the run's own consumer group ({ns}.replay.NAME, its lag is what is
    left), so that after a kill --resume NAME does the rest, each letter once. Letters that die
    after a run began are none of its business.
    """
    from caseworks.cli.dlq.asked import Asked

    asked = Asked(
        action="replay",
        places=tuple(places or ()),
        filters=Filters(agent, reason, since, until, tenant, case_id, topic, where),
        all=all_,
        by=name_of(by),
        why=why,
        rate=rate,
        limit=limit,
        replays_max=None if force else replays_max,
        force=force,
        patch=json_of(patch, "the patch") if patch else None,
        edit=edit,
        name=name,
        resume=resume,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    if patch and (edit or asked.patch is None):
        raise typer.BadParameter("--patch stands alone, and is no null", context)
    if edit and len(asked.places) != 1:
        raise typer.BadParameter("--edit takes one dead letter by its place", context)
    _go(context, asked, bootstrap)


def drop(
    context: typer.Context,
    places: Places = None,
    *,
    why: Annotated[str, typer.Option(help="Why, for the audit.")],
    agent: Agent = "",
    reason: Reason = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    case_id: CaseId = "",
    topic: Topic = "",
    where: Where = "",
    all_: AllWaiting = False,
    limit: Limit = None,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say that nobody will replay these: list leaves them out, and a case kept for one goes.

    A case that is parked for a dropped task fails. Killed half-way, the same command does the
    rest. The records stay in their topic until they expire: list --all shows them.
    """
    from caseworks.cli.dlq.asked import Asked

    asked = Asked(
        action="drop",
        places=tuple(places or ()),
        filters=Filters(agent, reason, since, until, tenant, case_id, topic, where),
        all=all_,
        by=name_of(by),
        why=why,
        limit=limit,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    _go(context, asked, bootstrap)


def _go(context: typer.Context, asked: Asked, bootstrap: str) -> None:
    wrong = asked.problem()
    if wrong:
        raise typer.BadParameter(wrong, context)
    code = _desk(context, asked, bootstrap).serve()
    if code:
        raise typer.Exit(code)


def _desk(context: typer.Context, asked: Asked, bootstrap: str) -> Desk:
    from caseworks.cli.dlq.jobs import Desk

    settings, deps = settings_of(bootstrap), deps_of(context)
    return Desk(deps.connect(settings), settings, deps.clock, asked)
