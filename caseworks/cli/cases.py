"""`case show|list|cancel|signal`: what happened, what is open, and telling a case something."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of
from caseworks.cli.output import console, plain, say, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caseworks.casebook import Found
    from schemas.lean_case import Case

case = typer.Typer(help="Cases: show, list, cancel, signal.", no_args_is_help=True)

CaseId = Annotated[str, typer.Argument(metavar="ID", help="As publish told it.")]


@case.command()
def show(
    context: typer.Context,
    case_id: CaseId,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a case: its steps, attempts and times, and its result."""
    from caseworks.casebook import find, need

    settings = settings_of(bootstrap)
    found = need(find(deps_of(context).connect(settings), settings, case_id), case_id)
    if as_json:
        write_json(_as_json(found))
        return
    _head(found)
    write_table("", STEP_COLUMNS, _steps(found), right="2 3 4")
    _draw(found, deps_of(context).clock())
    for asked in _questions(found):
        say(f"a person decides: caseworks approvals decide {asked} approve|reject|correct")
    for each in found.results:
        say(f"{plain(each.type)} ({each.result.status}) {plain(each.result.reason or '')}".rstrip())


@case.command(name="list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="The oldest so many.")] = 50,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the cases that are open now, the oldest first."""
    from caseworks.casebook import open_cases

    settings, deps = settings_of(bootstrap), deps_of(context)
    found = open_cases(deps.connect(settings), settings)
    shown = found[:limit]
    if as_json:
        for each in shown:
            write_json(_open_as_json(each))
        return
    now = deps.clock()
    write_table(
        "",
        ("case", "workflow", "status", "event", "age", "waits for"),
        [
            (
                each.case_id,
                each.workflow,
                each.status,
                each.event.id,
                f"{now - each.opened:.0f} s",
                ", ".join(_waiting(each)),
            )
            for each in shown
        ],
        right="4",
    )
    say(f"{len(found)} open" + (f", the oldest {limit} shown" if len(found) > limit else ""))


@case.command()
def cancel(
    context: typer.Context,
    case_id: CaseId,
    reason: Annotated[str, typer.Option(help="Why, for its result.", show_default=False)] = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Stop a case: what can be undone is undone, and it ends as cancelled."""
    from caseworks.inbox import need_open, send
    from schemas.commands import Cancel

    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    need_open(broker, settings, case_id)
    command = Cancel(case_id=case_id, reason=reason, by=getpass.getuser())
    send(broker, settings, command, deps.clock())
    say(f"case {case_id} was told to stop; caseworks case show {case_id}")


@case.command()
def signal(
    context: typer.Context,
    case_id: CaseId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What its step waits for.")],
    data: Annotated[str, typer.Argument(metavar="[JSON]", help="The step's output.")] = "null",
    bootstrap: BootstrapOption = "",
) -> None:
    """Tell a case what one of its steps waits for, as the correlated event would."""
    from uuid import uuid4

    from caseworks.inbox import need_open, send
    from schemas.commands import Signal

    said = json_of(data, "the data")
    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    need_open(broker, settings, case_id)
    command = Signal(case_id=case_id, name=name, data=said, signal_id=str(uuid4()))
    send(broker, settings, command, deps.clock())
    say(f"case {case_id} was told {plain(name)}; caseworks case show {case_id}")


DRAWING_WIDTH = 160
"""Columns at most, however wide the terminal is."""
STEP_COLUMNS = ("step", "status", "attempts", "ms", "confidence", "agent", "error")


def _steps(found: Found) -> Iterator[tuple[object, ...]]:
    """Rows of `STEP_COLUMNS`, from the result when there is one, else from the state."""
    from caseworks.timeline import standing, took_ms

    if found.results:
        result = found.results[-1].result
        for name, report in result.steps.items():
            sure = "" if report.confidence is None else f"{report.confidence:.2f}"
            agent = report.agent
            yield name, report.status, report.attempts, report.ms, sure, agent, report.error
        for name, undo in result.undone.items():
            yield f"{name}~undo", undo.status, undo.attempts, "", "", undo.agent, undo.error
        return
    steps = dict(found.case.steps) if found.case else {}
    if found.case is not None:
        steps |= {f"{name}~undo": step for name, step in found.case.undos.items()}
    for name, step in steps.items():
        ms = "" if (took := took_ms(step)) is None else f"{took:.0f}"
        sure = "" if step.confidence is None else f"{step.confidence:.2f}"
        why = step.error.message if step.error else ""
        yield name, standing(step), step.attempt, ms, sure, step.agent, why


_STYLES = {"done": "green", "retry": "yellow", "failed": "red", "abandoned": "red"}


def _draw(found: Found, now: float) -> None:
    """Each attempt and wait as a bar on the time axis of the case, as wide as the terminal."""
    from rich.text import Text

    from caseworks.bars import bars_of, drawn

    result = found.results[-1].result if found.results else None
    bars = bars_of(found.states, result)
    if not bars:
        return
    for bar in bars:
        bar.label, bar.why = plain(bar.label), plain(bar.why)
    end = max(bar.end or bar.start for bar in bars)  # clocks of two machines may differ
    end = max(end, result.closed_at.timestamp() if result else now)
    out = console()
    head, lines = drawn(bars, found.states[0][0].opened, end, min(out.width, DRAWING_WIDTH))
    say(head)
    for line in lines:
        text = Text(f"{line.label}  ", no_wrap=True, overflow="ignore")
        text.append(line.axis, _STYLES.get(line.outcome, ""))
        text.append(f"  {line.note}")
        out.print(text, crop=False)


def _head(found: Found) -> None:
    say(f"case {found.case_id}: {found.status}")
    if found.results:
        result = found.results[-1].result
        event, opened, closed = result.event, result.opened_at.timestamp(), result.closed_at
        workflow = f"{result.workflow} {result.workflow_version}"
        took_s = closed.timestamp() - opened
        say(f"{workflow}, event {plain(event.id)} ({plain(event.type)})")
        say(f"opened {_when(opened)}, closed after {took_s:.3f} s")
    elif found.case is not None:
        state = found.case
        say(f"{state.workflow} {state.workflow_version}, event {plain(state.event.id)}")
        say(f"opened {_when(state.opened)}, deadline {_when(state.deadline)}")
        if state.reason:
            say(plain(state.reason))


def _when(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _questions(found: Found) -> list[str]:
    """The ids of what people are asked now."""
    steps = found.case.steps.values() if found.case and not found.results else ()
    return [s.question.approval_id for s in steps if s.status == "asking" and s.question]


def _waiting(state: Case) -> list[str]:
    """The steps that have begun and not ended, each with how it stands."""
    from caseworks.timeline import standing

    resting = ("waiting", "done", "skipped", "failed", "abandoned")
    undos = {f"{name}~undo": step for name, step in state.undos.items()}
    begun = {n: s for n, s in (state.steps | undos).items() if s.status not in resting}
    return [
        name if step.status == "sent" else f"{name} ({standing(step)})"
        for name, step in begun.items()
    ]


def _open_as_json(state: Case) -> dict[str, Any]:
    return {
        "case_id": state.case_id,
        "workflow": state.workflow,
        "status": state.status,
        "event": state.event.ref().model_dump(mode="json"),
        "opened_at": _when(state.opened),
        "deadline": _when(state.deadline),
        "waiting_for": _waiting(state),
    }


def _state_of(case: Case) -> dict[str, Any]:
    """The case as its schema says it, every field written."""
    from schemas import case as contract

    return contract.Case.from_json(case.to_compact_json()).model_dump(mode="json")


def _as_json(found: Found) -> dict[str, Any]:
    return {
        "case_id": found.case_id,
        "status": found.status,
        "state": _state_of(found.case) if found.case else None,
        "results": [
            {"type": each.type, "id": each.id, **each.result.model_dump(mode="json")}
            for each in found.results
        ],
    }
