"""`lag`: how far behind every group is, whether it moves, and what its work will take."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, app_of, deps_of, settings_of
from caseworks.cli.output import note, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.lag import AgentWork, GroupReport, LagReport, PartitionLag

CLEAR = "\x1b[H\x1b[2J"
NUMBERS = ("lag", "in_flight", "undelivered", "done_ahead", "hidden")
BY_PARTITION = ("group", "topic", "partition", "committed", "end", *NUMBERS, "oldest", "state")
BY_TOPIC = ("group", "members", "topic", "lag", "in flight", "undelivered", "oldest", "state")
BY_AGENT = ("agent", "waits", "seconds", "tokens", "usd", "held", "held seconds", "because")


def lag(
    context: typer.Context,
    *,
    each: Annotated[bool, typer.Option("--partitions", help="One row a partition.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again, and whether it moves; Ctrl-C ends it.")
    ] = False,
    every_s: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between looks.")
    ] = 2.0,
    times: Annotated[int, typer.Option(min=0, help="Looks of --watch; 0: until Ctrl-C.")] = 0,
    window_s: Annotated[
        float, typer.Option("--window", min=1, help="Seconds without movement that are bad.")
    ] = 30.0,
    app: Annotated[
        str,
        typer.Option("--app", metavar="MODULE:APP", help="Says what agents call: breakers."),
    ] = "",
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how far behind each consumer group is, and what that work will take.

    A state needs --watch: OK, WARN (falls behind), STALL (one record holds the rest), STOP (nothing
    moves), REWIND (the position went back).
    """
    from caseworks.lag import THOROUGH, Surveyor

    deps = deps_of(context)
    settings = settings_of(bootstrap).model_copy(update={"lag_window_s": window_s})
    specs = {a.name: a.spec for a in app_of(app).agents.values()} if app else {}
    surveyor = Surveyor(
        deps.connect(settings), settings, specs=specs, clock=deps.clock, effort=THOROUGH
    )
    looks = 0
    with closing(surveyor):
        while True:
            report = surveyor.look()
            looks += 1
            if as_json:
                _as_json(report)
            else:
                if report.breakers and not app:
                    names = ", ".join(report.breakers)
                    note(f"not closed: the breaker of {names}; --app says whose tasks it holds")
                if watch and sys.stdout.isatty():
                    say(CLEAR)
                _as_text(report, each=each)
            if not watch or looks == times:
                return
            time.sleep(every_s)


def _as_json(report: LagReport) -> None:
    from dataclasses import asdict

    for group in report.groups:
        said = {"at": report.at, "members": group.members, "held": group.held}
        for one in group.partitions:
            write_json({**asdict(one), **said})
    for work in report.agents:
        write_json({"at": report.at, **asdict(work)})


def _as_text(report: LagReport, *, each: bool) -> None:
    if each:
        rows = [_row_of(one) for group in report.groups for one in group.partitions]
        write_table("", BY_PARTITION, rows, right="2 3 4 5 6 7 8 9 10")
    else:
        rows = [row for group in report.groups for row in _rows_of(group)]
        write_table("", BY_TOPIC, rows, right="1 3 4 5 6")
    waiting = [work for work in report.agents if work.now.records or work.held.records]
    if waiting:
        say("")
        write_table("", BY_AGENT, [_row_of_work(work) for work in waiting], right="1 2 3 4 5 6")
    for group in report.groups:
        for one in group.partitions:
            if one.why:
                note(f"{one.group} {one.topic}:{one.partition}: {one.why}")


def _rows_of(group: GroupReport) -> list[tuple[Any, ...]]:
    found = []
    for topic in sorted({one.topic for one in group.partitions}):
        mine = [one for one in group.partitions if one.topic == topic]
        ages = [one.oldest_age_s for one in mine if one.oldest_age_s is not None]
        sums = [sum(getattr(one, number) for one in mine) for number in NUMBERS[:3]]
        about = "" if all(one.exact for one in mine) else "~"
        members = "?" if group.members is None else group.members
        first, *others = (f"{about}{number}" for number in sums)
        oldest = _age(max(ages, default=None))
        found.append((group.group, members, topic, first, *others, oldest, _state(group, mine)))
    return found


def _state(group: GroupReport, partitions: list[PartitionLag]) -> str:
    from caseworks.lag import worst

    if group.held:
        return "held"
    return worst(each.state for each in partitions) or "-"


def _row_of(one: PartitionLag) -> tuple[Any, ...]:
    about = "" if one.exact else "~"
    numbers = (f"{about}{getattr(one, number)}" for number in NUMBERS)
    committed = "-" if one.committed is None else one.committed
    place = (one.group, one.topic, one.partition, committed, one.end)
    return (*place, *numbers, _age(one.oldest_age_s), one.state or "-")


def _row_of_work(work: AgentWork) -> tuple[Any, ...]:
    now, held = work.now, work.held
    costs = (now.seconds, now.tokens, now.usd)
    told = ("?" if number is None else f"{number:g}" for number in costs)
    held_s = "?" if held.seconds is None else f"{held.seconds:g}"
    return (work.agent, now.records, *told, held.records, held_s, work.held_by)


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
