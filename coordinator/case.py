"""The case machine: `apply(case, command, now, plan)`, pure. See `states` for the theory.

No I/O, no clock, no randomness: the same changelog and the same commands give the same case.
Applying a command twice changes nothing the second time (I5).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import assert_never

from coordinator import coalescing, fallback, mapping, undo, waits
from coordinator.backoff import due_of
from coordinator.draft import Draft
from coordinator.effects import Effect, Ignored, IgnoredWhy
from coordinator.keys import UNDO, index_of, key_of, step_of
from coordinator.opening import open_draft
from coordinator.states import ENDED, ENDED_WELL, PASSIVE
from coordinator.steps import end_attempt, found_wanting, give_up
from coordinator.surroundings import QUIET, Surroundings
from coordinator.view import Parts, no_parts
from coordinator.workflow import Plan
from schemas.commands import Cancel, Command, Decision, Drop, Flocked, Opened, Replay, Signal
from schemas.lean_case import CLOSED, Case, StepState
from schemas.outcome import Failure, Outcome, Progress
from schemas.task import TaskName, task_name_of
from schemas.workflow import CACHE


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: fire what is due."""


Applied = tuple[Case | None, list[Effect]]


def apply(
    case: Case | None,
    command: Command | Tick,
    now: float,
    plan: Plan,
    part: Parts = no_parts,
    around: Surroundings = QUIET,
) -> Applied:
    """The case after a command, and what it asks for.

    `now` in seconds since the epoch; `part` gives the states of a map's items, by key; `around`
    says what is known of the fleet.
    """
    if isinstance(command, Opened):
        return _opened(case, command, now, plan, around)
    if case is None:
        return None, [Ignored("unknown_case")]
    draft = Draft(case, now, plan, part, around)
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
        case Drop():
            _drop(draft, command)
        case Signal():
            waits.signal(draft, command)
        case Decision():
            waits.decision(draft, command)
        case Flocked():
            coalescing.told(draft, command)
        case _:
            assert_never(command)
    return draft.finish()


def next_due(case: Case, keep_s: float) -> float:
    """When this case needs a `Tick` at the latest; a closed one is kept for `keep_s`."""
    if case.closed is not None:
        return case.closed + keep_s
    due = case.deadline
    if case.held is not None and case.held < due:
        due = case.held
    for step in case.steps.values():
        at = due_of(step)
        if at is not None and at < due:
            due = at
    if case.undos:
        due = min(due, *(due_of(state) or inf for state in case.undos.values()))
    return due


def _opened(
    case: Case | None, command: Opened, now: float, plan: Plan, around: Surroundings
) -> Applied:
    if case is not None:
        return case, [Ignored("duplicate_event")]
    draft = open_draft(command, now, plan, around)
    if draft.deadline <= now:
        draft.close("expire", "its deadline had passed when it arrived")
    else:
        coalescing.begin(draft)
    return draft.finish()


def _outcome(draft: Draft, outcome: Outcome) -> None:
    name = task_name_of(outcome.task_id, outcome.case_id)
    key = "" if name is None else key_of(name)
    state = draft.get(key)
    if name is None or state is None:
        draft.ignore("unknown_step")
        return
    why = _irrelevant(draft, state, outcome, name)
    if why is None:
        end_attempt(draft, key, state, outcome)
    elif _done_too_late_to_stay(draft, key, state, outcome, name):
        draft.move(key, "late", output=outcome.output, agent=outcome.agent, ended=draft.now)
        draft.spend(outcome.usage)
        undo.join(draft, key)
    else:
        draft.ignore(why)


def _irrelevant(
    draft: Draft, state: StepState, outcome: Outcome, name: TaskName
) -> IgnoredWhy | None:
    """Why an outcome does not count (I3), or `None`."""
    if draft.closed is not None or state.status in ENDED:
        return "late"
    if state.status == "waiting" or state.status in PASSIVE or state.status == "mapping":
        return "stale"
    if name.iteration != state.iteration:
        return "stale"
    if name.replay != state.replay:
        return "stale"  # it died, or what it did was undone: that is another task now
    if name.item is not None and not mapping.at_work(draft, name.step, name.item):
        return "late"
    current = (state.attempt, state.agent, state.status)
    said = (outcome.attempt, outcome.agent, "sent")
    if current == said:
        return None
    good = outcome.status == "done" and not found_wanting(draft, key_of(name), state, outcome)
    return None if good else "stale"


def _done_too_late_to_stay(
    draft: Draft, key: str, state: StepState, outcome: Outcome, name: TaskName
) -> bool:
    """Whether a step was on its way when undoing began, is done now, and can be undone too."""
    if draft.status != "undoing" or outcome.status != "done" or state.status != "abandoned":
        return False
    step = draft.plan.steps.get(key)
    known = step is not None and step.undo is not None and key not in draft.undos
    same = (name.iteration, name.replay) == (state.iteration, state.replay)
    return known and same and state.attempt > 0


def _progress(draft: Draft, progress: Progress) -> None:
    name = task_name_of(progress.task_id, progress.case_id)
    key = "" if name is None else key_of(name)
    state = draft.get(key)
    if name is None or state is None or state.status != "sent" or draft.closed is not None:
        draft.ignore("stale")
        return
    said = (progress.attempt, progress.agent, name.replay, name.iteration)
    if (state.attempt, state.agent, state.replay, state.iteration) != said:
        draft.ignore("stale")
        return
    backstop = draft.backstop(draft.spec(key))
    if backstop != state.deadline:
        draft.replace(key, deadline=backstop)


def _cancel(draft: Draft, command: Cancel) -> None:
    if draft.case.status in CLOSED:
        draft.ignore("closed_case")
    elif draft.status == "undoing":
        draft.ignore("undoing")
    else:
        draft.close("cancel", command.reason or "cancelled")


def _replay(draft: Draft, command: Replay) -> None:
    """One dead task goes back to work; its siblings' results are kept (section 7)."""
    name = task_name_of(command.task_id, command.case_id)
    key = "" if name is None else key_of(name)
    if command.command_id in draft.replays:
        draft.ignore("replayed_already")
        return
    if not _is_dead(draft, command, key) or draft.status == "undoing":
        draft.ignore("nothing_to_replay")
        return
    draft.replays = (*draft.replays, command.command_id)
    draft.dead_letters = tuple(t for t in draft.dead_letters if t != command.task_id)
    if draft.case.status in CLOSED:
        draft.reopen()
    elif draft.case.status == "parked":
        draft.shift("resume", None)
    if command.input is not None:
        draft.replace(key, input=command.input)
    _send_again(draft, key)
    draft.advance()


def _drop(draft: Draft, command: Drop) -> None:
    """Nobody will replay a letter: a case that was parked for it ends, a closed one may go."""
    name = task_name_of(command.task_id, command.case_id)
    if name is None or command.task_id not in draft.dead_letters:
        draft.ignore("nothing_to_replay")
        return
    draft.dead_letters = tuple(t for t in draft.dead_letters if t != command.task_id)
    draft.changed = True
    step = draft.steps.get(name.step)
    if draft.closed is None and step is not None and step.status == "parked":
        draft.move(name.step, "fail", ended=draft.now)
        draft.close("fail", f"{name.key}: dropped: {command.why or 'nobody replays it'}")


def _is_dead(draft: Draft, command: Replay, key: str) -> bool:
    """Whether a dead letter holds this task; in a closed case also one that was at work again."""
    state = draft.get(key)
    if state is None or key.endswith(UNDO) or draft.steps[step_of(key)].status in ENDED_WELL:
        return False
    buried = draft.closed is not None and command.task_id in draft.dead_letters
    return state.status in ("failed", "parked") or (buried and state.status not in ENDED_WELL)


def _send_again(draft: Draft, key: str) -> None:
    """A dead step, or a dead item of one, gets a new start."""
    name = step_of(key)
    status = draft.steps[name].status
    if index_of(key) is not None and status == "parked":
        mapping.resume(draft, draft.plan.steps[name])
    elif status in ("failed", "parked"):  # else it waits for its turn already
        draft.renew(name)


def _tick(draft: Draft) -> None:
    """Send what is due again, give up what passed its backstop, end what passed its deadline."""
    if draft.case.status in CLOSED:
        return
    if draft.case.deadline <= draft.now:
        _expire(draft)
        return
    if draft.held is not None and draft.held <= draft.now:
        coalescing.release(draft)
    keys = [name for name, state in draft.steps.items() if _is_due(draft, state)]
    keys += [name + UNDO for name, state in draft.undos.items() if _is_due(draft, state)]
    for key in keys:
        _tick_step(draft, key)
        if draft.closed is not None:
            return


def _is_due(draft: Draft, state: StepState) -> bool:
    at = due_of(state)
    return at is not None and at <= draft.now


def _expire(draft: Draft) -> None:
    if draft.status == "undoing":
        undo.expire(draft)
        return
    running = [f"{name} {s.status}" for name, s in draft.steps.items() if s.status not in ENDED]
    draft.close("expire", "deadline passed while " + ", ".join(running))


def _tick_step(draft: Draft, key: str) -> None:
    state = draft.get(key)
    if state is None or not _is_due(draft, state):
        return
    if fallback.looks(draft, state) and state.status in ("sent", "retrying"):
        fallback.look(draft, key)
        return
    match state.status:
        case "retrying":
            agent = state.agent
            if agent != CACHE and agent not in draft.plan.agents:  # of an older version
                agent = draft.spec(key).agent
            draft.start(key, draft.spec(key), agent, due=None)
        case "sent" | "delegated":
            error = Failure(kind="deadline", message=f"no outcome of attempt {state.attempt}")
            give_up(draft, key, error, None)
        case "listening" | "asking":
            waits.expire(draft, key)
        case "mapping":
            for item in mapping.due(draft, key):
                if draft.steps[key].status == "mapping":  # the one before may have ended the step
                    _tick_step(draft, item)
        case _:
            """Nothing is due of the others."""
