"""`map`: one step as many tasks. Items are states of their own, kept as parts of the case.

The step itself holds only counts, so that what is written for an outcome does not grow with the
list. At most `concurrency` items are at work; the rest wait without a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import to_json

from coordinator.backoff import due_of
from coordinator.keys import WAITING, index_of, step_of
from coordinator.states import ENDED, ENDED_WELL
from schemas.lean_case import Items, StepState
from schemas.outcome import Failure
from schemas.workflow import StepSpec

if TYPE_CHECKING:
    from coordinator.draft import Draft

OUTPUT_BYTES_MAX = 4 * 1024 * 1024
"""What all maps of a case may hold: a step that reads them gets it in one task."""


def begin(draft: Draft, step: StepSpec) -> None:
    """The step's turn has come, for the first time or after a replay. Raises `ExpressionError`."""
    assert step.map is not None
    state = draft.steps[step.name]
    if state.items is not None and state.items.done + state.items.failed < state.items.total:
        resume(draft, step)
        return
    items = draft.items_of(step)
    total = len(items)
    if None in items:
        text = f"item {items.index(None)} is null: leave such items out, as in `list[?@ != null]`"
        draft.break_off(step.name, Failure(kind="null_item", message=text))
    elif total > step.map.items_max:
        text = f"{total} items, at most {step.map.items_max} are allowed"
        draft.break_off(step.name, Failure(kind="too_many_items", message=text))
    elif not total:
        draft.move(step.name, "done", output=[], confidence=1.0, ended=draft.now)
    else:
        started = {"agent": step.agent, "attempt": 1, "first_sent": draft.now}
        draft.move(step.name, "map", items=Items(total=total), **started)
        fill(draft, step)


def resume(draft: Draft, step: StepSpec) -> None:
    """Go on with the items that have not ended well; what is at work stays there."""
    state = draft.steps[step.name]
    items = state.items
    assert items is not None
    parked = state.status == "parked"
    again: list[int] = []
    running: list[str] = []
    for index in range(items.next):
        key = f"{step.name}:{index}"
        status = draft.at(key).status
        if parked and status in ("sent", "retrying"):
            running.append(key)
        elif status not in ENDED_WELL:
            again.append(index)
    changed = items.evolve(again=tuple(again), running=len(running))
    draft.move(step.name, "map", agent=step.agent, items=changed, ended=None, error=None)
    for key in running:
        arm(draft, key, draft.at(key))
    fill(draft, step)


def fill(draft: Draft, step: StepSpec) -> None:
    """Send items until enough are at work."""
    state = draft.steps[step.name]
    items = state.items
    if items is None or step.map is None or state.status != "mapping":
        return
    again, following = list(items.again), items.next
    room = step.map.concurrency - items.running
    while room > 0 and (again or following < items.total):
        if again:
            index = again.pop(0)
        else:
            index, following = following, following + 1
        _send(draft, step, f"{step.name}:{index}")
        if draft.steps[step.name].status != "mapping":  # what the item reads cannot be computed
            return
        room -= 1
    running = step.map.concurrency - room
    changed = items.evolve(again=tuple(again), next=following, running=running)
    draft.replace(step.name, items=changed)


def _send(draft: Draft, step: StepSpec, key: str) -> None:
    state = draft.get(key)
    if state is None:
        draft.put(key, WAITING)
    elif state.status != "waiting":
        if state.status not in ENDED:
            draft.move(key, "abandon")
        draft.renew(key)
    draft.start(key, step, step.agent)


def arm(draft: Draft, key: str, state: StepState) -> None:
    """The step is due when the first of its items is."""
    at = due_of(state)
    if at is None or state.status not in ("sent", "retrying"):
        return
    whole = draft.steps[step_of(key)]
    if whole.due is None or at < whole.due:
        draft.replace(step_of(key), due=at)


def ended(draft: Draft, key: str) -> None:
    """An item is done, or was given up and skipped: the step may be done, or send the next."""
    name, item = step_of(key), draft.at(key)
    step, state = draft.plan.steps[name], draft.steps[name]
    items = state.items
    assert items is not None
    good = item.status == "done"
    size = items.bytes + (len(to_json(item.output)) if good else 0)
    items = items.evolve(
        running=max(0, items.running - 1),
        done=items.done + good,
        failed=items.failed + (not good),
        bytes=size,
    )
    known = [c for c in (state.confidence, item.confidence) if c is not None]
    draft.replace(name, items=items, confidence=min(known, default=None))
    if sum(s.items.bytes for s in draft.steps.values() if s.items) > OUTPUT_BYTES_MAX:
        text = f"the outputs of {items.done} items hold more than {OUTPUT_BYTES_MAX} bytes"
        draft.break_off(name, Failure(kind="map_too_large", message=text))
    elif items.done + items.failed == items.total:
        degraded = bool(items.failed) or state.degraded or item.degraded
        draft.finish_step(name, degraded=degraded)
    else:
        if item.degraded and good and not state.degraded:
            draft.replace(name, degraded=True)
        fill(draft, step)


def at_work(draft: Draft, name: str, index: int) -> bool:
    """Whether an item was sent, and is not to be sent anew."""
    state = draft.steps[name]
    items = state.items if state.status in ("mapping", "parked") else None
    return items is not None and index < items.next and index not in items.again


def lose(draft: Draft, key: str) -> None:
    """An item is dead and takes its step along: it is not at work any more."""
    name = step_of(key)
    items = draft.steps[name].items
    if items is not None:
        draft.replace(name, items=items.evolve(running=max(0, items.running - 1)))


def due(draft: Draft, name: str) -> list[str]:
    """The items that something is due for; the step is armed for the others."""
    items = draft.steps[name].items
    assert items is not None
    draft.replace(name, due=None)
    found: list[str] = []
    again = frozenset(items.again)
    for index in range(items.next):
        key = f"{name}:{index}"
        state = draft.at(key)
        if index in again:
            continue
        at = due_of(state)
        if at is None or state.status not in ("sent", "retrying"):
            continue
        if at <= draft.now:
            found.append(key)
        else:
            arm(draft, key, state)
    return found


def is_item(key: str) -> bool:
    """Whether a key names an item."""
    return index_of(key) is not None
