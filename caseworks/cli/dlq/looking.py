"""`dlq list|show|diff|log`: looking at dead letters, and at what was done to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of
from caseworks.cli.dlq.options import (
    METAVAR,
    Agent,
    CaseId,
    Filters,
    Place,
    Reason,
    Since,
    Tenant,
    Topic,
    Until,
    Where,
)
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.dead_mail.letters import Dead
    from caseworks.dead_mail.standing import Standing
    from events.broker import Broker
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
    found, count = newest(broker, settings, sieve, limit, () if all_ else audit)
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


def show(
    context: typer.Context,
    place: Place,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show all of one dead letter: what it holds, its case, and what a replay would do."""
    from caseworks.cli.dlq.telling import as_json as told
    from caseworks.dead_mail.audit import Audit
    from caseworks.dead_mail.reading import case_of, find
    from caseworks.dead_mail.standing import Standing, history, standings

    settings, deps = settings_of(bootstrap), deps_of(context)
    now, broker = deps.clock(), deps.connect(settings)
    dead = find(broker, place)
    handled, case_id = Audit(broker, settings).last(dead.place), case_of(dead, settings)
    standing, moments = Standing(), []
    if case_id:
        standing = standings(broker, settings, [case_id]).get(case_id, standing)
        moments = history(broker, settings, case_id)[1]
    outlook = _outlook(broker, settings, dead, standing, now)
    if as_json:
        about = {"case_status": standing.status, "timeline": [m.as_json() for m in moments]}
        write_json({**told(dead, settings, now, handled), **about, "replay": outlook})
        return
    _show_letter(dead)
    _show_case(case_id, standing, moments)
    _show_outlook(outlook, handled, now)


def _outlook(
    broker: Broker, settings: Settings, dead: Dead, standing: Standing, now: float
) -> dict[str, Any]:
    """What a replay would do, or why there is none."""
    from caseworks.dead_mail.remedy import Orders, World, replay_of
    from caseworks.scan import partition_counts
    from events.errors import PayloadError

    held = {dead.letter.case_id: standing} if dead.letter.case_id else {}
    world = World(settings, partition_counts(broker), held)
    try:
        remedy = replay_of(dead, world, Orders("", now))
    except PayloadError as error:
        return {"possible": False, "why": error.args[0].removeprefix(f"{dead.place}: ")}
    saved = standing.saved() if remedy.reused else None
    return {
        "possible": True,
        "does": remedy.told,
        "saves": saved.model_dump(mode="json") if saved else None,
    }


def _show_letter(dead: Dead) -> None:
    from caseworks.cli.dlq.telling import block, payload_lines, text_of
    from schemas.dead_letter import PREFIX

    for name, value in dead.letter:
        if value not in (None, "") and name != "stacktrace":
            say(f"{name:<11} {plain(value)}")
    say(f"{'died':<11} {_when(dead.message.timestamp_ms / 1000)}")
    key = dead.message.key
    say(f"{'key':<11} {'null' if key is None else plain(text_of(key))}")
    headers = [(n, v) for n, v in dead.message.headers if not n.startswith(PREFIX)]
    block("headers", [f"{plain(name):<20} {plain(text_of(value))}" for name, value in headers])
    block("payload", payload_lines(dead.message.value))
    if dead.letter.stacktrace:
        block("stack trace", [plain(line) for line in dead.letter.stacktrace.splitlines()])


def _show_case(case_id: str, standing: Standing, moments: list[Any]) -> None:
    from caseworks.cli.dlq.telling import block

    if not case_id:
        block("case", ["it does not say which"])
        return
    kept = ", kept for its dead letters" if standing.kept else ""
    lines = [
        f"{_when(moment.at)}  {plain(moment.step):<16} {plain(moment.what):<11} "
        f"{plain(moment.detail)}".rstrip()
        for moment in moments
    ]
    block(f"case {plain(case_id)}: {standing.status}{kept}", lines)


def _show_outlook(outlook: dict[str, Any], handled: LetterHandled | None, now: float) -> None:
    from caseworks.cli.dlq.telling import block, done_to, money
    from schemas.usage import Usage

    lines = [f"{done_to(handled, now)}: {plain(handled.why)}".rstrip(": ")] if handled else []
    if outlook["possible"]:
        lines.append(plain(outlook["does"]))
        if outlook["saves"]:
            lines.append(f"what it reuses cost {money(Usage(**outlook['saves']))}")
    else:
        lines.append(f"it cannot be replayed: {plain(outlook['why'])}")
    block("replay", lines)


def diff(
    context: typer.Context,
    place: Place,
    other: Annotated[
        str, typer.Argument(metavar=f"[{METAVAR}]", help="Another letter.", show_default=False)
    ] = "",
    *,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What it would get instead, as JSON."),
    ] = None,
    patch: Annotated[
        str, typer.Option(metavar="JSON", help="An RFC 7396 merge patch.", show_default=False)
    ] = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Compare a letter with another one, or with what its replay would send now.

    Writes a unified diff of canonical JSON; nothing where they are the same.
    """
    from caseworks.dead_mail.editing import diff as compare
    from caseworks.dead_mail.editing import readable
    from caseworks.dead_mail.reading import find

    if sum(map(bool, (other, file, patch))) > 1:
        raise typer.BadParameter("compare with one: a letter, --file or --patch", context)
    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    dead = find(broker, place)
    if other:
        after = find(broker, other).message.value
    else:
        after = _sent_now(broker, settings, dead, deps.clock(), file, patch)
    name = other or "as it would be sent now"
    for line in compare(readable(dead.message.value), readable(after), place, name).splitlines():
        say(plain(line))


def _sent_now(
    broker: Broker, settings: Settings, dead: Dead, now: float, file: Path | None, patch: str
) -> bytes | None:
    from caseworks.dead_mail.changes import edited, patched
    from caseworks.dead_mail.letters import kind_of
    from caseworks.dead_mail.preview import task_as_sent

    given = None
    if file is not None:
        given = edited(dead, settings, file.read_text(encoding="utf-8"))
    elif patch:
        given = patched(dead, settings, json_of(patch, "the patch"))
    if kind_of(dead.message.topic, settings.topics) == "task":
        return task_as_sent(broker, settings, dead, now, given.input if given else None)
    return dead.message.value if given is None else given.value


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

    when = _when(entry.at.timestamp())
    if isinstance(entry, LetterRun):
        return when, f"begin {entry.action}", entry.name, entry.by, entry.why, "", entry.name, ""
    changed = "yes" if entry.changed else ""
    return when, entry.action, entry.place, entry.by, entry.why, entry.to, entry.run, changed


def _when(epoch_s: float) -> str:
    from schemas.base import instant

    return f"{instant(epoch_s):%Y-%m-%d %H:%M:%S}Z"
