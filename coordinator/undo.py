"""Compensation: when a case fails, expires or is cancelled, finished steps are undone.

Of a `map` that failed half-way the items that are done are undone: its undo reads their outputs.
In reverse order of their ends, one at a time, each as a task of its own (`<step>~undo`) with
attempts and back-off of the step. What could not be undone is in the result. A step that was on
its way when the case ended and turns out to be done is undone as well, as long as undoing goes on.

Source of the idea: sagas (Garcia-Molina and Salem, 1987).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.keys import UNDO
from schemas.lean_case import Ending, StepState
from schemas.outcome import Failure
from schemas.workflow import StepSpec

if TYPE_CHECKING:
    from coordinator.draft import Draft
    from coordinator.states import CaseEvent

UNDOES: frozenset[CaseEvent] = frozenset(("fail", "expire", "cancel"))


def spec_of(step: StepSpec) -> StepSpec:
    """What undoing a step means: its undo agent, which reads what the step read and gave."""
    return StepSpec(
        name=step.name,
        agent=step.undo,
        after=(*step.after, step.name),
        timeout_s=step.timeout_s,
        attempts_max=step.attempts_max,
        backoff_s=step.backoff_s,
        backoff_s_max=step.backoff_s_max,
    )


def begin(draft: Draft, event: CaseEvent, reason: str | None) -> bool:
    """Whether the case must be undone before it ends like this."""
    if event not in UNDOES or draft.status == "undoing" or draft.ending is not None:
        return False
    names = [name for name, step in draft.plan.steps.items() if step.undo and _did(draft, name)]
    if not names:
        return False
    place = {name: index for index, name in enumerate(draft.plan.order)}
    ends = _ends(draft)
    names.sort(key=lambda name: (ends[name], place[name]), reverse=True)
    draft.shift("undo", reason)
    assert event in ("fail", "expire", "cancel")
    draft.ending = Ending(event=event, reason=reason)
    draft.deadline = draft.now + draft.plan.spec.undo_deadline_s
    draft.undos = {name: _fresh(draft, name) for name in names}
    advance(draft)
    return True


def _did(draft: Draft, name: str) -> bool:
    """Whether a step did something: it is done, or some items of its `map` are."""
    state = draft.steps[name]
    return state.status == "done" or (state.items is not None and state.items.done > 0)


def _ends(draft: Draft) -> dict[str, float]:
    """When each step ended; never before those that it waited for, whatever the clock said."""
    ends: dict[str, float] = {}
    for name in draft.plan.order:
        step = draft.plan.steps[name]
        before = [ends[source] for source in step.after]
        if step.join == "any":  # the first of those that were done
            done = (each for each in step.after if draft.steps[each].status == "done")
            before = [min((ends[each] for each in done), default=0.0)]
        ends[name] = max(draft.steps[name].ended or 0.0, *before, 0.0)
    return ends


def _fresh(draft: Draft, name: str) -> StepState:
    """Undoing a step that was done anew is another task than undoing it the first time."""
    return StepState(replay=draft.steps[name].replay)


def advance(draft: Draft) -> None:
    """Undo the next step; after the last one the case ends."""
    for name, state in draft.undos.items():
        if state.status == "waiting":
            draft.send(name + UNDO, "send", agent=draft.plan.steps[name].undo)
            return
        if state.status in ("sent", "retrying"):
            return
    ending = draft.ending
    assert ending is not None
    draft.close(ending.event, ending.reason)


def failed(draft: Draft, key: str, error: Failure) -> None:
    """A step could not be undone: the result says so, and the others are undone all the same."""
    draft.move(key, "fail", error=error, due=None, deadline=None, ended=draft.now)
    advance(draft)


def join(draft: Draft, name: str) -> None:
    """A step turned out to be done after the case had ended: undo it too, and next."""
    begun = {key: state for key, state in draft.undos.items() if state.status != "waiting"}
    draft.undos = {**begun, name: _fresh(draft, name), **draft.undos}


def expire(draft: Draft) -> None:
    """The time for undoing is over: what is not undone by now stays."""
    error = Failure(kind="deadline", message="the time for undoing was over")
    for name, state in draft.undos.items():
        if state.status in ("waiting", "sent", "retrying"):
            draft.move(name + UNDO, "fail", error=error, due=None, deadline=None, ended=draft.now)
    advance(draft)


def undone(draft: Draft) -> frozenset[str]:
    """The steps that must be done anew after undoing: those undone, and what was built on them."""
    again = set(draft.undos)
    for name in draft.plan.order:
        if again.intersection(draft.plan.steps[name].after):
            again.add(name)
    return frozenset(again)
