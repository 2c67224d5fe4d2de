"""`approvals list|decide`: what people are asked, and their answers."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, json_of, settings_of
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from caseworks.approvals import Starts
    from events.broker import Broker
    from events.settings import Settings
    from schemas.approval import ApprovalEnded, ApprovalRequested

approvals = typer.Typer(help="What people are asked, and their answers.", no_args_is_help=True)

Verdict = Literal["approve", "reject", "correct"]
ACTION_CHARS = 60
NO_EFFECT = 1


@approvals.command(name="list")
def list_(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the questions that wait for a person, the oldest first."""
    from caseworks.approvals import from_now, open_questions

    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    starts = from_now(broker, settings)
    found = [asked.request for asked in open_questions(broker, settings, deps.clock())]
    if as_json:
        for request in found:
            write_json(request.model_dump(mode="json"))
    else:
        columns = ("approval", "workflow", "step", "asked", "expires", "sure", "action")
        write_table("", columns, [_row(request) for request in found], right="5")
        say(f"{len(found)} open; caseworks approvals decide APPROVAL approve|reject|correct")
    if follow:
        _follow(broker, settings, starts, as_json=as_json)


def _follow(broker: Broker, settings: Settings, starts: Starts, *, as_json: bool) -> None:
    from caseworks.approvals import follow, told
    from schemas.approval import ApprovalRequested

    note("waiting for questions and answers; Ctrl-C ends it")
    for said in follow(broker, settings, starts):
        if as_json:
            write_json({"type": said.ce_type, **said.model_dump(mode="json")})
        elif isinstance(said, ApprovalRequested):
            what = f"{said.step} of {said.workflow}: {_short(said.action)}"
            say(f"{said.asked_at:%H:%M:%S}  asked  {plain(said.approval_id)}  {what}")
        else:
            say(f"{said.ended_at:%H:%M:%S}  ended  {plain(said.approval_id)}  {plain(told(said))}")


@approvals.command()
def decide(
    context: typer.Context,
    approval_id: Annotated[str, typer.Argument(metavar="APPROVAL", help="As list told it.")],
    verdict: Annotated[
        Verdict, typer.Argument(metavar="VERDICT", help="approve, reject or correct.")
    ],
    *,
    correction: Annotated[
        str, typer.Option("--with", metavar="JSON", help="What to do instead.", show_default=False)
    ] = "",
    by: Annotated[str, typer.Option(help="Who decides; default: you.", show_default=False)] = "",
    why: Annotated[str, typer.Option("--note", help="Why.", show_default=False)] = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0, help="How long to wait for its effect.")
    ] = 10.0,
    bootstrap: BootstrapOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer a question; the answer is bound to the action as it is shown here."""
    from contextlib import closing

    from caseworks.approvals import Watch, need_open
    from caseworks.inbox import send
    from schemas.commands import Decision

    if (verdict == "correct") != bool(correction):
        raise typer.BadParameter("say what to do instead by --with, exactly for correct", context)
    instead = json_of(correction, "the correction") if correction else None
    settings, deps = settings_of(bootstrap), deps_of(context)
    broker = deps.connect(settings)
    request = need_open(broker, settings, approval_id, deps.clock()).request
    if not as_json:
        _show(request)
    decision = Decision(
        case_id=request.case_id,
        approval_id=approval_id,
        verdict=verdict,
        action_hash=request.action_hash,
        by=by or getpass.getuser(),
        correction=instead,
        note=why,
    )
    with closing(Watch(broker, settings, approval_id)) as watch:
        send(broker, settings, decision, deps.clock())
        _tell(decision, watch.wait(timeout_s), as_json=as_json)


def _tell(decision: Any, ended: ApprovalEnded | None, *, as_json: bool) -> None:
    """What came of a decision: its effect, somebody else's, or nothing yet."""
    from caseworks.approvals import told

    if as_json:
        write_json(
            {
                "decision": decision.model_dump(mode="json"),
                "ended": ended.model_dump(mode="json") if ended else None,
            }
        )
    elif ended is None:
        note(f"sent; no effect seen yet: caseworks case show {decision.case_id}")
    else:
        say(plain(told(ended)))
    if ended is not None and (ended.ending, ended.by) != (decision.verdict, decision.by):
        note("that was not your decision: another end came first")
        raise typer.Exit(NO_EFFECT)


def _show(request: ApprovalRequested) -> None:
    say(f"{request.step} of {request.workflow}, case {request.case_id}")
    if request.why:
        say(plain(request.why))
    say(f"{request.event.type} {plain(request.event.id)}")
    say(json.dumps(request.action, indent=2, ensure_ascii=True, default=str))
    say(f"action hash {request.action_hash}")


def _row(request: ApprovalRequested) -> tuple[object, ...]:
    return (
        request.approval_id,
        request.workflow,
        request.step,
        f"{request.asked_at:%Y-%m-%d %H:%M:%S}",
        f"{request.expires_at:%Y-%m-%d %H:%M:%S}",
        "" if request.confidence is None else f"{request.confidence:.2f}",
        _short(request.action),
    )


def _short(action: Any) -> str:
    text = json.dumps(action, ensure_ascii=True, default=str)
    return text if len(text) <= ACTION_CHARS else text[: ACTION_CHARS - 1] + "…"
