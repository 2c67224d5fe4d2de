"""Delegation: what an agent asks for instead of answering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from events.envelope import is_hostile
from schemas.outcome import Delegate as AskedStep

STEPS_MAX = 20
"""Steps in one answer; the coordinator bounds depth and the steps of a whole case."""
BYTES_MAX = 262_144
"""All inputs of one answer together, as JSON."""


@dataclass(frozen=True, slots=True)
class DelegateStep:
    """One step that is asked for.

    Args:
        name: How its siblings name it, as a step: lower case, digits and underscores.
        agent: The function of an agent of the app, or the agent's name.
        input: What the agent gets where it would get the event's data: anything that pydantic can
            write as JSON; left out: the event's data.
        after: Siblings that must be done first; their outputs are read by their names.
    """

    name: str
    agent: Callable[..., Any] | str
    input: Any = None
    after: Sequence[str] = ()


@dataclass(frozen=True, slots=True, init=False)
class Delegate:
    """Let other agents work first: the step ends with the output of the last of them.

    An agent may return it instead of its output. With several steps that no sibling reads, the
    output is an object by step name.

    Example:
        ```python
        return Delegate(
            DelegateStep("lookup", agent=find_order, input={"order": "A-1"}),
            DelegateStep("write", agent="writer", after=["lookup"]),
        )
        ```
    """

    steps: tuple[DelegateStep, ...]

    def __init__(self, *steps: DelegateStep) -> None:
        """*steps*: 1 to 20."""
        object.__setattr__(self, "steps", steps)


def asked_of(delegate: Delegate) -> tuple[AskedStep, ...]:
    """The steps as they travel. Raises `ValueError` saying what is wrong with which."""
    steps = delegate.steps
    if not 1 <= len(steps) <= STEPS_MAX:
        raise ValueError(f"{len(steps)} steps, 1 to {STEPS_MAX} are allowed")
    asked = tuple(_asked(step) for step in steps)
    names = [step.name for step in asked]
    for at, step in enumerate(asked):
        if step.name in names[:at]:
            raise ValueError(f"two steps are named {step.name!r}")
        if unknown := set(step.after).difference(names):
            raise ValueError(f"step {step.name!r} is after {min(unknown)!r}, which is no sibling")
    size = sum(len(to_json(step.input)) for step in asked)
    if size > BYTES_MAX:
        raise ValueError(f"its inputs are {size} bytes, the limit is {BYTES_MAX}")
    return asked


def _asked(step: object) -> AskedStep:
    if not isinstance(step, DelegateStep):
        raise ValueError(f"{type(step).__name__} is no DelegateStep")  # noqa: TRY004
    agent = step.agent if isinstance(step.agent, str) else _name_of(step.agent)
    after = (step.after,) if isinstance(step.after, str) else step.after
    try:
        written = to_json(step.input, inf_nan_mode="constants")
        given = from_json(written, allow_inf_nan=False)
    except (PydanticSerializationError, ValueError) as error:
        raise ValueError(f"the input of {step.name!r} is no JSON: {error}") from None
    if is_hostile(given):
        raise ValueError(f"the input of {step.name!r} is nested too deep")
    try:
        return AskedStep.model_validate(
            {"name": step.name, "agent": agent, "input": given, "after": after}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"step {step.name!r}: {place} is {first['input']!r}") from None


def _name_of(function: Callable[..., Any]) -> str:
    """The agent of a function is named like it, `_` as `-`."""
    return str(getattr(function, "__name__", function)).replace("_", "-")
