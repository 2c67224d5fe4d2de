"""Steps that wait for the world outside: a correlated event, or a person's decision.

Whatever does not come in time ends the step as its workflow says: `skip` (which degrades nothing),
`escalate`, `fail`, or `approve` (the action as it was asked for).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, assert_never

from coordinator.effects import Answered, Ask
from schemas.approval import ApprovalEnding, action_hash_of
from schemas.base import instant
from schemas.commands import Decision, Signal
from schemas.lean_case import CLOSED, Heard, Question
from schemas.outcome import Failure
from schemas.task import task_id_of
from schemas.workflow import StepSpec

if TYPE_CHECKING:
    from coordinator.draft import Draft

HEARD_MAX = 100
"""Signals kept for steps that do not listen yet."""
SIGNALS_MAX = 200
"""Ids of signals remembered, the newest."""

Policy = Literal["skip", "escalate", "fail"]


# --- beginnings


def begin_wait(draft: Draft, step: StepSpec) -> None:
    """A step with a `wait` may start: it listens, unless it was heard before."""
    assert step.wait is not None
    for heard in draft.heard:
        if heard.name == step.wait.event:
            draft.heard = tuple(each for each in draft.heard if each is not heard)
            now = {"first_sent": draft.now, "ended": draft.now}
            draft.move(step.name, "done", output=heard.data, **now)
            return
    deadline = draft.now + step.wait.timeout_s
    draft.move(step.name, "listen", deadline=deadline, first_sent=draft.now)


def begin_approval(draft: Draft, step: StepSpec) -> None:
    """A step with an `approval` may start: a person is asked. Raises `ExpressionError`."""
    assert step.approval is not None
    action = draft.evaluate(step.approval.of)
    deadline = draft.now + step.approval.timeout_s
    _ask(draft, step.name, action, deadline=deadline, first_sent=draft.now)


def begin_review(draft: Draft, step: StepSpec, fields: Mapping[str, Any], why: str) -> None:
    """An agent is not sure of its output (`fields` of the step when done): a person is asked."""
    kept = {name: value for name, value in fields.items() if name != "output"}
    deadline = draft.now + step.review_timeout_s
    _ask(draft, step.name, fields["output"], why=why, deadline=deadline, **kept)


def _ask(draft: Draft, name: str, action: Any, *, why: str = "", **fields: Any) -> None:
    state = draft.at(name)
    question = Question(
        approval_id=task_id_of(draft.case.case_id, name, state.replay, state.iteration),
        action=action,
        action_hash=action_hash_of(action),
        confidence=fields.get("confidence"),
    )
    draft.move(name, "ask", question=question, due=None, **fields)
    draft.effects.append(Ask(name, why))


# --- answers


def signal(draft: Draft, command: Signal) -> None:
    """A correlated event, or a message to this very case: for the first step that listens for it.

    What no step listens for yet is kept; what no step of the workflow waits for changes nothing.
    """
    if draft.status in CLOSED or draft.status == "undoing":
        draft.ignore("closed_case" if draft.status in CLOSED else "undoing")
    elif command.signal_id and command.signal_id in draft.signals:
        draft.ignore("signalled_already")
    elif command.name not in draft.plan.waits:
        draft.ignore("unknown_signal")
    elif (name := _listener(draft, command.name)) is not None:
        _remember(draft, command.signal_id)
        draft.finish_step(name, output=command.data)
    elif len(draft.heard) >= HEARD_MAX:
        draft.ignore("too_many_signals")
    else:
        _remember(draft, command.signal_id)
        heard = Heard(name=command.name, data=command.data, signal_id=command.signal_id)
        draft.heard = (*draft.heard, heard)


def _listener(draft: Draft, event: str) -> str | None:
    for name in draft.plan.order:
        wait = draft.plan.steps[name].wait
        if wait is not None and wait.event == event and draft.steps[name].status == "listening":
            return name
    return None


def _remember(draft: Draft, signal_id: str) -> None:
    draft.changed = True
    if signal_id:
        draft.signals = (*draft.signals, signal_id)[-SIGNALS_MAX:]


def decision(draft: Draft, command: Decision) -> None:
    """A person's answer, bound to the exact action by its hash. The first one counts."""
    asked = _asked(draft, command.approval_id)
    if asked is None:
        draft.ignore("no_question")
        return
    name, question = asked
    if question.action_hash != command.action_hash:
        draft.ignore("wrong_hash")
        return
    draft.effects.append(Answered(name, question, command.verdict, command.by, command.note))
    match command.verdict:
        case "approve":
            _take(draft, name, question.action, confidence=1.0)
        case "correct":
            _take(draft, name, command.correction, confidence=1.0)
        case "reject":
            _rejected(draft, name, command)
        case _:
            assert_never(command.verdict)


def _asked(draft: Draft, approval_id: str) -> tuple[str, Question] | None:
    for name, state in draft.steps.items():
        question = state.question
        if state.status == "asking" and question and question.approval_id == approval_id:
            return name, question
    return None


def _take(draft: Draft, name: str, output: Any, *, confidence: float | None) -> None:
    draft.finish_step(name, output=output, confidence=confidence, question=None)


def _rejected(draft: Draft, name: str, command: Decision) -> None:
    approval = draft.plan.steps[name].approval
    why = f": {command.note}" if command.note else ""
    error = Failure(kind="rejected", message=f"rejected by {command.by}{why}")
    _end(draft, name, approval.on_reject if approval else _of_review(draft, name), error)


def _of_review(draft: Draft, name: str) -> Policy:
    """A rejected output is a step that failed for good, but its task is not dead."""
    step = draft.plan.steps[name]
    if step.optional:
        return "skip"
    return "fail" if step.on_dead_letter == "fail" else "escalate"


# --- nobody answered


def expire(draft: Draft, name: str) -> None:
    """The time of a listening or asking step is over."""
    step, question = draft.plan.steps[name], draft.steps[name].question
    if step.wait is not None:
        text = f"no {step.wait.event} within {step.wait.timeout_s:g} s"
        _end(draft, name, step.wait.on_timeout, Failure(kind="timeout", message=text))
        return
    assert question is not None
    ending: ApprovalEnding = "expired"
    draft.effects.append(Answered(name, question, ending))
    policy = step.approval.on_expiry if step.approval else step.on_expiry
    if policy == "approve":
        _take(draft, name, question.action, confidence=question.confidence)
    else:
        _end(draft, name, policy, Failure(kind="expired", message="nobody decided in time"))


def _end(draft: Draft, name: str, policy: Policy, error: Failure) -> None:
    """A step ends without an answer."""
    if policy == "skip" or draft.plan.steps[name].optional:
        degraded = policy != "skip" or draft.plan.steps[name].optional
        draft.skip_step(name, error=error, question=None, degraded=degraded)
        return
    fields = {"error": error, "question": None, "due": None, "deadline": None, "ended": draft.now}
    draft.move(name, "fail", **fields)
    draft.close(policy, f"{name}: {error.kind}: {error.message}")


def withdraw(draft: Draft, name: str) -> None:
    """Nobody needs the answer to what this step asks any more, if it asks."""
    state = draft.steps[name]
    if state.status == "asking" and state.question is not None:
        draft.effects.append(Answered(name, state.question, "withdrawn"))


def reason_of(draft: Draft, name: str) -> str:
    """What the case waits for and until when, for people."""
    wait, deadline = draft.plan.steps[name].wait, draft.steps[name].deadline
    until = f"{instant(deadline):%Y-%m-%d %H:%M:%S}Z" if deadline is not None else "its deadline"
    return f"{name} waits for {wait.event if wait else 'a person'} until {until}"
