"""`dlq show`: all of one dead letter, its case, and what a replay would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.dlq.options import Place, when
from caseworks.cli.output import plain, say, write_json

if TYPE_CHECKING:
    from caseworks.dead_mail.letters import Dead
    from caseworks.dead_mail.standing import Standing
    from events.broker import Broker
    from events.settings import Settings
    from schemas.letter_audit import LetterHandled


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
    say(f"{'died':<11} {when(dead.message.timestamp_ms / 1000)}")
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
        f"{when(moment.at)}  {plain(moment.step):<16} {plain(moment.what):<11} "
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
