"""The case machine: `apply(case, command, now, plan)`, pure. See `states` for the theory.

No I/O, no clock, no randomness: the same changelog and the same commands give the same case.
Applying a command twice changes nothing the second time (I5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from coordinator.backoff import delay_s
from coordinator.draft import Draft, open_draft
from coordinator.effects import Bury, Effect, Ignored, IgnoredWhy
from coordinator.states import ENDED
from coordinator.workflow import Plan
from schemas.case import CLOSED, Case, StepState
from schemas.commands import Cancel, Command, Decision, Opened, Replay, Signal
from schemas.outcome import Failure, Outcome, Progress
from schemas.task import task_id_of
from schemas.workflow import StepSpec


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: fire what is due."""


UNDECODABLE = "undecodable"
"""Failure kind of a task that the worker could not read, and put to the dead letters itself."""

Applied = tuple[Case | None, list[Effect]]


def apply(case: Case | None, command: Command | Tick, now: float, plan: Plan) -> Applied:
    """The case after a command, and what it asks for. `now` in seconds since the epoch."""
    if isinstance(command, Opened):
        return _opened(case, command, now, plan)
    if case is None:
        return None, [Ignored("unknown_case")]
    draft = Draft(case, now, plan)
    match command:
        case Outcome():
            _outcome(draft, command)
        case Tick():
            _tick(draft)
        case Progress():
            _progress(draft, command)
        case Cancel():
            _cancel(draft, command)
        case Replay():
            _replay(draft, command)
        case Signal() | Decision():
            draft.ignore("no_waiter")
        case _:
            assert_never(command)
    return draft.finish()


def next_due(case: Case, keep_s: float) -> float:
    """When this case needs a `Tick` at the latest; a closed one is kept for `keep_s`."""
    if case.closed is not None:
        return case.closed + keep_s
    due = case.deadline
    for step in case.steps.values():
        at = step.due if step.status == "retrying" else step.deadline
        if at is not None and at < due and step.status in ("retrying", "sent"):
            due = at
    return due


def _opened(case: Case | None, command: Opened, now: float, plan: Plan) -> Applied:
    if case is not None:
        return case, [Ignored("duplicate_event")]
    draft = open_draft(command, now, plan)
    if draft.deadline <= now:
        draft.close("expire", "its deadline had passed when it arrived")
    else:
        draft.advance()
    return draft.finish()


def _outcome(draft: Draft, outcome: Outcome) -> None:
    name, replay = _step_of(outcome)
    state = draft.steps.get(name)
    why = _irrelevant(draft, state, outcome, replay)
    if state is None or why:
        draft.ignore(why or "unknown_step")
        return
    error = outcome.error or Failure(kind=outcome.status)
    step = draft.plan.steps[name]
    match outcome.status:
        case "done":
            _complete(draft, step, outcome)
        case "retry":
            _retry(draft, step, state, error, outcome)
        case "deferred":
            wait_s = error.retry_after_s if error.retry_after_s is not None else step.backoff_s
            draft.move(name, "defer", due=draft.now + wait_s, deadline=None, error=error)
        case "escalate":
            draft.move(name, "abandon", error=error, usage=outcome.usage, ended=draft.now)
            draft.spend(outcome.usage)
            draft.close("escalate", f"{name}: {error.message or error.kind}")
        case "failed" | "halted" | "delegate":
            _give_up(draft, step, error, outcome)
        case _:
            assert_never(outcome.status)


def _irrelevant(
    draft: Draft, state: StepState | None, outcome: Outcome, replay: int
) -> IgnoredWhy | None:
    """Why an outcome does not count (I3), or `None`."""
    if state is None:
        return "unknown_step"
    if draft.case.status in CLOSED or state.status in ENDED:
        return "late"
    if state.status == "waiting":
        return "stale"
    if outcome.status == "done":
        return None
    current = (state.attempt, state.agent, state.replay, state.status)
    return None if current == (outcome.attempt, outcome.agent, replay, "sent") else "stale"


def _complete(draft: Draft, step: StepSpec, outcome: Outcome) -> None:
    fell_back = step.fallback is not None and outcome.agent == step.fallback
    draft.move(
        step.name,
        "done",
        agent=outcome.agent,
        output=outcome.output,
        confidence=outcome.confidence,
        agent_version=outcome.agent_version,
        usage=outcome.usage,
        degraded=fell_back,
        due=None,
        deadline=None,
        error=None,
        ended=draft.now,
    )
    draft.spend(outcome.usage)
    floor = max(step.escalate_below or 0.0, step.review_below or 0.0)
    if outcome.confidence < floor:
        text = f"{step.name}: confidence {outcome.confidence:.2f} is below {floor:.2f}"
        draft.close("escalate", text)
        return
    if draft.status == "parked" and all(s.status != "parked" for s in draft.steps.values()):
        draft.shift("resume", None)
    draft.advance()


def _retry(
    draft: Draft, step: StepSpec, state: StepState, error: Failure, outcome: Outcome
) -> None:
    burnt = state.burnt + 1
    if burnt >= step.attempts_max:
        _give_up(draft, step, error, outcome)
        return
    wait_s = delay_s(outcome.task_id, state.attempt, step.backoff_s, step.backoff_s_max)
    due = draft.now + max(wait_s, error.retry_after_s or 0.0)
    draft.move(step.name, "retry", burnt=burnt, due=due, deadline=None, error=error)
    draft.spend(outcome.usage)


def _give_up(draft: Draft, step: StepSpec, error: Failure, outcome: Outcome | None) -> None:
    """No further attempt helps: fallback, else skip, else a dead letter and what it entails."""
    name, state = step.name, draft.steps[step.name]
    if outcome is not None:
        draft.spend(outcome.usage)
    if step.fallback is not None and state.agent != step.fallback:
        draft.send(name, "fallback", agent=step.fallback, burnt=0, error=error)
        return
    if step.optional:
        ended = {"due": None, "deadline": None, "ended": draft.now, "degraded": True}
        draft.move(name, "skip", error=error, **ended)
        draft.advance()
        return
    task_id = task_id_of(draft.case.case_id, name, state.replay)
    if error.kind != UNDECODABLE:  # that letter the worker has written already
        draft.effects.append(Bury(name, error, outcome))
    draft.dead_letters = (*draft.dead_letters, task_id)
    text = f"{name}: {error.kind}: {error.message}".rstrip(": ")
    match step.on_dead_letter:
        case "park":
            draft.move(name, "park", error=error, due=None, deadline=None)
            draft.shift("park", text)
        case "fail":
            draft.move(name, "fail", error=error, deadline=None, ended=draft.now)
            draft.close("fail", text)
        case "escalate":
            draft.move(name, "fail", error=error, deadline=None, ended=draft.now)
            draft.close("escalate", text)
        case _:
            assert_never(step.on_dead_letter)


def _progress(draft: Draft, progress: Progress) -> None:
    name, replay = _step_of(progress)
    state = draft.steps.get(name)
    said = (progress.attempt, progress.agent, replay)
    if (
        state is None
        or state.status != "sent"
        or (state.attempt, state.agent, state.replay) != said
    ):
        draft.ignore("stale")
        return
    draft.replace(name, deadline=draft.backstop(draft.plan.steps[name]))


def _cancel(draft: Draft, command: Cancel) -> None:
    if draft.case.status in CLOSED:
        draft.ignore("closed_case")
    else:
        draft.close("cancel", command.reason or "cancelled")


def _replay(draft: Draft, command: Replay) -> None:
    """One dead task goes back to work; its siblings' results are kept (section 7)."""
    name, _ = _step_of(command)
    state = draft.steps.get(name)
    if command.command_id in draft.replays:
        draft.ignore("replayed_already")
        return
    if state is None or state.status not in ("failed", "parked"):
        draft.ignore("nothing_to_replay")
        return
    draft.replays = (*draft.replays, command.command_id)
    draft.dead_letters = tuple(t for t in draft.dead_letters if t != command.task_id)
    if draft.case.status in CLOSED:
        draft.reopen()
    elif draft.case.status == "parked":
        draft.shift("resume", None)
    again = {"replay": state.replay + 1, "burnt": 0, "ended": None, "error": None}
    draft.send(name, "send", agent=draft.plan.steps[name].agent, **again)
    draft.advance()


def _tick(draft: Draft) -> None:
    """Send what is due again, give up what passed its backstop, end what passed its deadline."""
    if draft.case.status in CLOSED:
        return
    if draft.case.deadline <= draft.now:
        running = [f"{name} {s.status}" for name, s in draft.steps.items() if s.status not in ENDED]
        draft.close("expire", "deadline passed while " + ", ".join(running))
        return
    for name, state in tuple(draft.steps.items()):
        if draft.status in CLOSED:
            return
        if state.status == "retrying" and state.due is not None and state.due <= draft.now:
            known = state.agent in draft.plan.agents  # an older version may have had another
            agent = state.agent if known else draft.plan.steps[name].agent
            draft.send(name, "send", agent=agent, due=None)
        elif state.status == "sent" and state.deadline is not None and state.deadline <= draft.now:
            error = Failure(kind="deadline", message=f"no outcome of attempt {state.attempt}")
            _give_up(draft, draft.plan.steps[name], error, None)


def _step_of(command: Outcome | Progress | Replay) -> tuple[str, int]:
    """Step and replay number in a task id; the step is empty when the id is not of this case."""
    case_id, _, rest = command.task_id.partition(":")
    step, _, replay = rest.partition("#")
    if case_id != command.case_id or (replay and not replay.isdecimal()):
        return "", 0
    return step, int(replay or 0)
