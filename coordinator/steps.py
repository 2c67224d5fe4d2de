"""How a step ends: done, tried again, handed on, or given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from coordinator import delegation, fallback, mapping, undo, waits
from coordinator.backoff import delay_s
from coordinator.draft import Draft
from coordinator.effects import Bury, Postponed, Retain, Work
from coordinator.expressions import ExpressionError, is_true
from coordinator.keys import UNDO, step_of
from events.errors import EffectUnknownError
from schemas.lean_case import StepState
from schemas.outcome import Failure, Outcome
from schemas.task import task_id_of
from schemas.workflow import CACHE, StepSpec

UNDECODABLE = "undecodable"
"""Failure kind of a task that the worker could not read, and put to the dead letters itself."""


def end_attempt(draft: Draft, key: str, state: StepState, outcome: Outcome) -> None:
    """An outcome that counts: the attempt of this step has ended."""
    if outcome.status == "done":
        _complete(draft, key, state, outcome)
        return
    error = outcome.error or Failure(kind=outcome.status)
    match outcome.status:
        case "retry":
            _retry(draft, key, state, error, outcome)
        case "deferred":
            _defer(draft, key, state, error)
        case "escalate":
            draft.spend(outcome.usage)
            escalate(draft, key, error, outcome)
        case "delegate":
            wrong = delegation.problem(draft, key, outcome.delegates)
            if wrong is None:
                draft.spend(outcome.usage)
                delegation.begin(draft, key, outcome.delegates)
            else:
                give_up(draft, key, Failure(kind="bad_delegation", message=wrong), outcome)
        case "failed" | "halted":
            give_up(draft, key, error, outcome)
        case _:
            assert_never(outcome.status)


def _complete(draft: Draft, key: str, state: StepState, outcome: Outcome) -> None:
    step = draft.spec(key)
    draft.spend(outcome.usage)
    if state.status == "delegated":
        delegation.forget(draft, key)  # another attempt of it was done after all
    fields = {
        "agent": outcome.agent,
        "output": outcome.output,
        "confidence": outcome.confidence,
        "agent_version": outcome.agent_version,
        "usage": outcome.usage,
        "degraded": outcome.agent != step.agent and outcome.agent in step.chain,
        "error": None,
    }
    if step.loop is None:
        conclude(draft, key, fields)
        return
    try:
        _loop(draft, step, state, fields)
    except ExpressionError as error:
        draft.break_off(key, Failure(kind="bad_expression", message=str(error)))


def _loop(draft: Draft, step: StepSpec, state: StepState, fields: dict[str, Any]) -> None:
    """Go round again until the condition holds. Raises `ExpressionError`."""
    assert step.loop is not None
    iteration, limit = state.iteration + 1, step.loop.iterations_max
    if _holds(draft, step, state, fields["output"]):
        conclude(draft, step.name, fields)
    elif iteration < limit:
        draft.replace(step.name, output=fields["output"])
        fresh = {"iteration": iteration, "burnt": 0, "due": None, "error": None, "handed": ()}
        draft.send(step.name, "again", agent=step.agent, **fresh)
    elif step.loop.exhausted == "accept":
        error = Failure(kind="iterations", message=f"still not as wanted after {limit}")
        conclude(draft, step.name, {**fields, "degraded": True, "error": error})
    else:
        error = Failure(kind="iterations", message=f"not as wanted after {limit} iterations")
        give_up(draft, step.name, error, None)


def found_wanting(draft: Draft, key: str, state: StepState, outcome: Outcome) -> bool:
    """Whether an output, told again, was judged before: somebody else is at it since."""
    step = draft.spec(key)
    if state.escalated and outcome.confidence < _floor(step):
        return True
    loop, iteration = step.loop, state.iteration + 1
    if loop is None or loop.exhausted == "accept" or iteration < loop.iterations_max:
        return False
    try:
        return not _holds(draft, step, state, outcome.output)
    except ExpressionError:
        return False


def _holds(draft: Draft, step: StepSpec, state: StepState, output: Any) -> bool:
    """Whether a loop has got what it wants. Raises `ExpressionError`."""
    assert step.loop is not None
    known = {step.name: state.output, "output": output, "iteration": state.iteration + 1}
    return is_true(draft.evaluate(step.loop.until, **known))


def _floor(step: StepSpec) -> float:
    """The confidence below which an output is not taken as it is."""
    return max(step.escalate_below or 0.0, step.review_below or 0.0)


def conclude(draft: Draft, key: str, fields: Mapping[str, Any]) -> None:
    """A step has an output: take it, or ask somebody higher because nobody is sure of it."""
    step, confidence = draft.spec(key), fields["confidence"]
    floor = _floor(step)
    if confidence >= floor:
        if step.fallback is not None and CACHE in step.chain and not fields.get("degraded"):
            _retain(draft, key, step, fields)
        draft.finish_step(key, **fields)
        return
    text = f"{key}: confidence {confidence:.2f} is below {floor:.2f}"
    if _may_ask_higher(draft, key, step):
        _ask_higher(draft, key, step, Failure(kind="low_confidence", message=text))
    elif confidence >= (step.escalate_below or 0.0) and key in draft.steps:
        waits.begin_review(draft, step, fields, text)
    else:
        ended = {"due": None, "deadline": None, "ended": draft.now}
        draft.move(key, "done", **ended, **fields)
        draft.close("escalate", text)


def _retain(draft: Draft, key: str, step: StepSpec, fields: Mapping[str, Any]) -> None:
    """A good output is kept, for when nobody else can answer."""
    try:
        work = draft.work(key, step, draft.at(key))
    except ExpressionError:  # what it had read is gone: nobody could find it again
        return
    state = work.state.evolve(**{name: fields[name] for name in _KEPT if name in fields})
    draft.effects.append(Retain(work._replace(state=state)))


_KEPT = ("output", "confidence", "agent_version")


def _retry(draft: Draft, key: str, state: StepState, error: Failure, outcome: Outcome) -> None:
    step, burnt = draft.spec(key), state.burnt + 1
    if burnt >= step.attempts_max:
        give_up(draft, key, error, outcome)
        return
    wait_s = delay_s(outcome.task_id, state.attempt, step.backoff_s, step.backoff_s_max)
    due = draft.now + max(wait_s, error.retry_after_s or 0.0)
    later = draft.around.retry_at(outcome.agent, due, draft.now)
    if later > due:
        draft.effects.append(Postponed(outcome.agent))
    draft.move(key, "retry", burnt=burnt, due=later, deadline=None, error=error, deferred=None)
    draft.spend(outcome.usage)


def _defer(draft: Draft, key: str, state: StepState, error: Failure) -> None:
    """Something that it calls is away: it waits, or somebody stands in who need not."""
    step, after_s = draft.spec(key), error.retry_after_s
    wait_s = after_s if after_s is not None else step.backoff_s
    since = draft.now if state.deferred is None else state.deferred
    fields: dict[str, Any] = {"due": draft.now + wait_s, "deadline": None, "error": error}
    look = fallback.look_at(step, state.handed, draft.now, since)
    if look is not None:
        fields |= {"deferred": since, "look": look}
    draft.move(key, "defer", **fields)
    if fallback.overdue(draft, step, since) is not None:
        fallback.look(draft, key)


def escalate(draft: Draft, key: str, error: Failure, outcome: Outcome | None) -> None:
    """The agent says that this is beyond it: a higher agent, then people."""
    if key.endswith(UNDO):
        undo.failed(draft, key, error)
        return
    asked = draft.delegated.get(key)
    if asked is not None:
        delegation.forget(draft, asked.parent)
        escalate(draft, asked.parent, error, outcome)
        return
    step = draft.spec(key)
    if _may_ask_higher(draft, key, step):
        _ask_higher(draft, key, step, error)
        return
    name = step_of(key)
    draft.move(name, "abandon", error=error, ended=draft.now, due=None, deadline=None)
    if name == key and outcome is not None:
        draft.replace(name, usage=outcome.usage)
    draft.close("escalate", f"{key}: {error.message or error.kind}")


def _may_ask_higher(draft: Draft, key: str, step: StepSpec) -> bool:
    return step.escalate_to is not None and not draft.at(key).escalated


def _ask_higher(draft: Draft, key: str, step: StepSpec, error: Failure) -> None:
    delegation.forget(draft, key)
    fresh = {"burnt": 0, "due": None, "error": error}
    draft.send(key, "escalate", agent=step.escalate_to, escalated=True, **fresh)


def give_up(draft: Draft, key: str, error: Failure, outcome: Outcome | None) -> None:
    """No further attempt helps: the next of the chain, else skip, else a dead letter."""
    if outcome is not None:
        draft.spend(outcome.usage)
    if key.endswith(UNDO):
        undo.failed(draft, key, error)
        return
    asked = draft.delegated.get(key)
    if asked is not None:
        why = Failure(kind=error.kind, message=f"{key}: {error.message}")
        give_up(draft, asked.parent, why, None)
        return
    delegation.forget(draft, key)
    if error.kind == EffectUnknownError.kind:
        _bury(draft, key, error, outcome)  # whoever did it instead might do it again
        return
    name, state, step = step_of(key), draft.at(key), draft.spec(key)
    if fallback.hand_on(draft, key, error, outcome):
        return
    if error.kind == fallback.MISS and state.error is not None:
        error = state.error  # a dead letter says what led to the cache
    if key != name and step.map is not None and step.map.on_failure == "skip":
        draft.skip_step(key, error=error, degraded=True)
    elif step.optional:
        draft.skip_step(name, error=error, degraded=True)
    else:
        _bury(draft, key, error, outcome)


def _bury(draft: Draft, key: str, error: Failure, outcome: Outcome | None) -> None:
    name, state, step = step_of(key), draft.at(key), draft.spec(key)
    try:
        work = draft.work(key, step, state)
    except ExpressionError:  # what it would read is gone: the worker's own bytes have it
        work = Work(key, state)
    if error.kind != UNDECODABLE:  # that letter the worker has written already
        draft.effects.append(Bury(work, error, outcome))
    task_id = task_id_of(draft.case.case_id, key, state.replay, state.iteration)
    if task_id not in draft.dead_letters:
        draft.dead_letters = (*draft.dead_letters, task_id)
    if key != name:
        draft.move(key, "fail", error=error, due=None, deadline=None, ended=draft.now)
        mapping.lose(draft, key)
    text = f"{key}: {error.kind}: {error.message}".rstrip(": ")
    match step.on_dead_letter:
        case "park":
            draft.move(name, "park", error=error, due=None, deadline=None)
            draft.shift("park", text)
        case "fail":
            draft.move(name, "fail", error=error, due=None, deadline=None, ended=draft.now)
            draft.close("fail", text)
        case "escalate":
            draft.move(name, "fail", error=error, due=None, deadline=None, ended=draft.now)
            draft.close("escalate", text)
        case _:
            assert_never(step.on_dead_letter)
