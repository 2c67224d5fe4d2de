"""What a case holds and what a step of it reads, as one command sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator import undo
from coordinator.effects import Work
from coordinator.expressions import ExpressionError, compile_expression
from coordinator.keys import UNDO, WAITING
from coordinator.workflow import Plan
from schemas.lean_case import Case, StepState
from schemas.workflow import StepSpec

Parts = Callable[[str], StepState | None]
"""The state of an item of a `map`, by its key."""


def no_parts(key: str) -> StepState | None:
    """Of a case without a `map`: there are none."""
    del key
    return None


class CaseView:
    """The states of a case by key (see `coordinator.keys`), and the values under names."""

    __slots__ = ("_found", "_part", "case", "delegated", "kept", "plan", "steps", "undos")

    def __init__(self, case: Case, plan: Plan, part: Parts) -> None:
        self.case = case
        self.plan = plan
        self.delegated = case.delegated
        self.undos = case.undos
        self.steps: dict[str, StepState] = dict(case.steps)
        if len(self.steps) != len(plan.steps) + len(case.delegated):
            # Another plan than it began with: a step it added waits, one it dropped is forgotten.
            known = (*plan.order, *case.delegated)
            self.steps = {name: case.steps.get(name, WAITING) for name in known}
        self.kept: dict[str, StepState] = {}
        """Changed items of a `map`."""
        self._part = part
        self._found: dict[str, Any] = {}
        """Lists and outputs of maps, put together once."""

    def get(self, key: str) -> StepState | None:
        """A state, or `None` when the case has none of this key."""
        state = self.steps.get(key)
        if state is not None:
            return state
        if key.endswith(UNDO):
            return self.undos.get(key.removesuffix(UNDO))
        if ":" not in key:
            return None
        return self.kept.get(key) or self._part(key)

    def at(self, key: str) -> StepState:
        """A state that must be there. Raises `KeyError`."""
        state = self.steps.get(key) or self.get(key)
        if state is None:
            raise KeyError(key)
        return state

    def spec(self, key: str) -> StepSpec:
        """What a key must do; for undoing and delegated steps it is derived."""
        step = self.plan.steps.get(key)
        if step is not None:
            return step
        if key.endswith(UNDO):
            return undo.spec_of(self.plan.steps[key.removesuffix(UNDO)])
        if key in self.delegated:
            asked = self.delegated[key]
            agent = self.plan.agents[asked.agent]
            return StepSpec(
                name="delegated",
                agent=asked.agent,
                timeout_s=agent.timeout_s,
                attempts_max=3,
            )
        return self.plan.spec_of(key)

    def work(self, key: str, step: StepSpec, state: StepState) -> Work:
        """What a task is about. Raises `ExpressionError`."""
        asked = self.delegated.get(key) if self.delegated else None
        if asked is not None:
            local = {name.rpartition(".")[2]: self.output_of(name) for name in asked.after}
            return Work(key, state, asked.input, local)
        last = {step.name: state.output} if step.loop is not None else {}
        if step.inputs:
            results = {name: self.evaluate(text, **last) for name, text in step.inputs.items()}
        else:
            results = {name: self.look(name) for name in step.after}
        if key.endswith(UNDO) and self.steps[step.name].status != "done":
            results[step.name] = self._done_items(step.name)
        given = state.input
        if given is None and step.map is not None and key != step.name:
            given = self._item(step, int(key.rpartition(":")[2]))
        results |= last
        return Work(key, state, given, results)

    def evaluate(self, text: str, **more: Any) -> Any:
        """The value of an expression over the case. Raises `ExpressionError`."""
        expression = compile_expression(text)
        view = {name: self.look(name) for name in expression.names if name not in more}
        return expression.of({**view, **more})

    def look(self, name: str) -> Any:
        """What is read under a name: nothing of a step that is not done, or that is not known."""
        state = self.steps.get(name)
        if state is not None:
            return self.output_of(name) if state.status == "done" else None
        event = self.case.event
        if name == "data":
            return event.data
        if name != "event":
            return None
        return event.model().model_dump(mode="json", exclude={"data"})

    def items_of(self, step: StepSpec) -> list[Any]:
        """The list that a `map` goes over. Raises `ExpressionError` when it is none."""
        key = f"items of {step.name}"
        if key not in self._found:
            found = self.evaluate(step.map.over) if step.map else None
            if not isinstance(found, list):
                raise ExpressionError(f"map over {type(found).__name__}, which is no list")
            self._found[key] = found
        items: list[Any] = self._found[key]
        return items

    def _item(self, step: StepSpec, index: int) -> Any:
        items = self.items_of(step)
        if index >= len(items):  # who races for a step may end, and change what it reads
            raise ExpressionError(f"the list has {len(items)} items now, and none at {index}")
        return items[index]

    def _done_items(self, name: str) -> list[Any]:
        """The outputs of those items of a `map` that are done."""
        items = self.steps[name].items
        parts = [self.get(f"{name}:{index}") for index in range(items.total if items else 0)]
        return [part.output for part in parts if part and part.status == "done"]

    def output_of(self, name: str) -> Any:
        """A step's output; of a `map` the list of the outputs of its items."""
        state = self.steps[name]
        if state.items is None:
            return state.output
        if name not in self._found:
            parts = (self.get(f"{name}:{index}") for index in range(state.items.total))
            self._found[name] = [part.output if part else None for part in parts]
        return self._found[name]
