"""Delegation: an agent answers with new steps, and its own step ends with their output.

The new steps (`<parent>.<name>`) are checked before any of them starts: known agents, no cycle, at
most `FAN_OUT_MAX` at once, at most `DEPTH_MAX` deep and `DELEGATED_MAX` in a case. When one of them
fails for good, so does the step that asked for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.keys import WAITING
from coordinator.states import ENDED_WELL
from schemas.lean_case import Delegated
from schemas.outcome import Delegate

if TYPE_CHECKING:
    from coordinator.draft import Draft

FAN_OUT_MAX = 20
DEPTH_MAX = 3
DELEGATED_MAX = 100


def problem(draft: Draft, key: str, asked: tuple[Delegate, ...]) -> str | None:
    """Why these steps cannot be added, if they cannot."""
    names = [each.name for each in asked]
    if key not in draft.steps or draft.spec(key).loop is not None:
        return "an item of a map, a loop and an undo may not delegate"
    if not names or len(names) > FAN_OUT_MAX:
        return f"{len(names)} steps, 1 to {FAN_OUT_MAX} are allowed"
    if len(set(names)) < len(names):
        return "two of the steps have the same name"
    if _depth(draft, key) > DEPTH_MAX:
        return f"delegated {DEPTH_MAX} times already"
    if len(draft.delegated) + len(names) > DELEGATED_MAX:
        return f"more than {DELEGATED_MAX} delegated steps in one case"
    for each in asked:
        if each.agent not in draft.plan.agents:
            return f"{each.name}: unknown agent {each.agent!r}"
        if not set(each.after) <= set(names):
            return f"{each.name}: it may read its siblings only"
    return None if _acyclic(asked) else "a cycle among the steps"


def begin(draft: Draft, key: str, asked: tuple[Delegate, ...]) -> None:
    """The step waits for the steps that its agent asked for; `problem` found none with them.

    Those of a later attempt are other tasks than those of an earlier one with the same names.
    """
    fresh = WAITING.evolve(replay=draft.steps[key].attempt - 1)
    draft.move(key, "delegate", due=None, error=None)
    children = {
        f"{key}.{each.name}": Delegated(
            parent=key,
            agent=each.agent,
            input=each.input,
            after=tuple(f"{key}.{name}" for name in each.after),
            depth=_depth(draft, key),
        )
        for each in asked
    }
    draft.delegated = {**draft.delegated, **children}
    draft.steps.update(dict.fromkeys(children, fresh))
    draft.advance()


def ended(draft: Draft, key: str) -> None:
    """A delegated step is done: the last of them ends their parent."""
    from coordinator.steps import conclude

    parent = draft.delegated[key].parent
    siblings = _children(draft, parent)
    states = [draft.steps[name] for name in siblings]
    if any(state.status not in ENDED_WELL for state in states):
        draft.advance()
        return
    read = {name for each in siblings for name in draft.delegated[each].after}
    outputs = {
        name.rpartition(".")[2]: draft.steps[name].output for name in siblings if name not in read
    }
    output = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    known = [state.confidence for state in states if state.confidence is not None]
    conclude(draft, parent, {"output": output, "confidence": min(known, default=1.0)})


def forget(draft: Draft, key: str) -> None:
    """Nobody needs the steps that this one asked for any more."""
    family = [key]
    for name in family:
        family += _children(draft, name)
    draft.forget_delegated(tuple(family[1:]))


def _children(draft: Draft, parent: str) -> list[str]:
    return [name for name, asked in draft.delegated.items() if asked.parent == parent]


def _depth(draft: Draft, key: str) -> int:
    asked = draft.delegated.get(key)
    return 1 if asked is None else asked.depth + 1


def _acyclic(asked: tuple[Delegate, ...]) -> bool:
    placed: set[str] = set()
    while True:
        free = {e.name for e in asked if e.name not in placed and placed.issuperset(e.after)}
        if not free:
            return len(placed) == len(asked)
        placed |= free
