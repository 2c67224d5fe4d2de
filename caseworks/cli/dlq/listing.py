"""`dlq list|log`: which dead letters there are, and what was done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.dlq.options import (
    METAVAR,
    Agent,
    CaseId,
    Filters,
    Reason,
    Since,
    Tenant,
    Topic,
    Until,
    Where,
    when,
)
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.dead_mail.letters import Dead
    from events.settings import Settings
    from schemas.letter_audit import LetterHandled, LetterRun

ERROR_CHARS = 60
TABLE_MAX = 500
"""Rows of a drawn table; drawing takes half a millisecond for each."""


def list_(
    context: typer.Context,
    *,
    agent: Agent = "",
    reason: Reason = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    case_id: CaseId = "",
    topic: Topic = "",
    where: Where = "",
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that were replayed or dropped.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest dead letters that wait for somebody, the newest last."""
    from caseworks.cli.dlq.telling import as_json as told
    from caseworks.dead_mail.audit import Audit
    from caseworks.dead_mail.reading import newest

    settings, deps = settings_of(bootstrap), deps_of(context)
    now, broker = deps.clock(), deps.connect(settings)
    filters = Filters(agent, reason, since, until, tenant, case_id, topic, where)
    sieve = filters.sieve(now, settings.topics)
    audit = Audit(broker, settings)
    skip = () if all_ else audit
    found, count = newest(broker, settings, sieve, limit, skip, whole=as_json)
    if sieve.unfit:
        note(f"{sieve.unfit} letters are left out: --where cannot work with their values")
    if as_json:
        for dead in found:
            write_json(told(dead, settings, now, audit.last(dead.place)))
        return
    rows = [_row(dead, settings, now, audit.last(dead.place)) for dead in found]
    columns: tuple[str, ...] = (
        "dead letter",
        "age",
        "reason",
        "agent",
        "case",
        "replays",
        "error",
        "handled",
    )
    if not all_:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    if len(rows) <= TABLE_MAX:
        write_table("", columns, rows, right="5")
    else:
        _write_columns(columns, rows)
    more = f" of {count}" if count > len(found) else ""
    say(f"{len(found)}{more} shown; caseworks dlq show {METAVAR} tells all of one")


def _write_columns(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A long table, without the time that a beautiful one takes."""
    cells = [columns, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        pairs = zip(row, widths, strict=True)
        say("  ".join(cell.ljust(width) for cell, width in pairs).rstrip())


def _row(
    dead: Dead, settings: Settings, now: float, handled: LetterHandled | None
) -> tuple[object, ...]:
    from caseworks.cli.dlq.telling import age, done_to
    from caseworks.dead_mail.letters import agent_of
    from caseworks.dead_mail.reading import case_of

    return (
        dead.place,
        age(now - dead.message.timestamp_ms / 1000),
        dead.letter.reason,
        agent_of(dead.message.topic, settings.topics),
        case_of(dead, settings),
        dead.letter.replays or "",
        dead.letter.error[:ERROR_CHARS],
        done_to(handled, now),
    )


def log(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell who replayed or dropped what, when and why, the newest last."""
    from itertools import islice

    from caseworks.dead_mail.audit import Audit

    settings = settings_of(bootstrap)
    audit = Audit(deps_of(context).connect(settings), settings)
    entries = list(islice(audit.entries(), limit))[::-1]
    if as_json:
        for entry in entries:
            write_json({"type": entry.ce_type, **entry.model_dump(mode="json")})
        return
    columns = ("when", "what", "dead letter or run", "by", "why", "to", "run", "changed")
    write_table("", columns, [_log_row(entry) for entry in entries])
    say(f"{len(entries)} shown; --json also tells what was changed")


def _log_row(entry: LetterHandled | LetterRun) -> tuple[object, ...]:
    from schemas.letter_audit import LetterRun

    at = when(entry.at.timestamp())
    if isinstance(entry, LetterRun):
        return at, f"begin {entry.action}", entry.name, entry.by, entry.why, "", entry.name, ""
    changed = "yes" if entry.changed else ""
    return at, entry.action, entry.place, entry.by, entry.why, entry.to, entry.run, changed
