"""Whether the functions of a workflow fit its steps: what they read is there, and of their types.

One set of checks for both doors: a workflow declared in Python and one read from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from agents.agent import Agent
from agents.signature import holds_data
from coordinator.workflow_problems import order_of
from events.errors import DeclarationError
from schemas.workflow import StepSpec, WorkflowSpec


@dataclass(frozen=True, slots=True)
class _Source:
    """What a parameter of some name gets."""

    type: Any
    """`Any`: not known before it is there."""
    null: str = ""
    """Why it may be null, if it may."""


def check_signatures(
    spec: WorkflowSpec, agents: Mapping[str, Agent], data: Mapping[str, Any]
) -> None:
    """Compare every function with what its step gives it. Raises `DeclarationError`.

    *agents* by name; *data*: the type of each event's data, where it is known. What is wrong with
    the workflow itself (an unknown agent, a cycle) is not looked for here.
    """
    outputs = _outputs(spec, agents, data)
    nullable = _nullable(spec)
    for step in spec.steps:
        main = agents.get(step.agent or "")
        if main is None:
            continue
        place = f"workflow {spec.name!r}, step {step.name!r}"
        reads = _reads(step, outputs, nullable)
        stand_ins = [agents.get(name) for name in (*step.stand_ins, step.escalate_to or "")]
        asked = [main, *(agent for agent in stand_ins if agent is not None)]
        for agent in asked:
            _check_data(place, agent, mapped=step.map is not None)
            _check_inputs(place, agent, reads, outputs, step)
            _check_output(place, agent, main)
        unread = step.inputs.keys() - {source.name for agent in asked for source in agent.inputs}
        if unread:
            raise DeclarationError(
                f"{place}: {main.spec.name!r} has no parameter {min(unread)!r}: add it, or remove "
                "it from `inputs`"
            )
        undo = agents.get(step.undo or "")
        if undo is not None:
            _check_data(place, undo, mapped=False)
            _check_undo(place, undo, step, outputs, nullable)


def _outputs(
    spec: WorkflowSpec, agents: Mapping[str, Agent], data: Mapping[str, Any]
) -> dict[str, Any]:
    """What each step gives; an approval gives what it approves."""
    found: dict[str, Any] = {}
    for step in spec.steps:
        agent = agents.get(step.agent or "")
        found[step.name] = agent.output_type if agent is not None else Any
        if step.wait is not None:
            found[step.name] = data.get(step.wait.event, Any)
        elif step.map is not None and agent is not None:
            output = agent.output_type
            skips = step.map.on_failure == "skip"
            found[step.name] = list[output | None] if skips else list[output]  # type: ignore[valid-type]
    for step in spec.steps:
        if step.approval is not None:
            found[step.name] = found.get(step.approval.of, Any)
    return found


def _nullable(spec: WorkflowSpec) -> dict[str, str]:
    """Why the output of a step may be null; an empty text where it may not."""
    steps = {step.name: step for step in spec.steps}
    found = dict.fromkeys(steps, "")
    for name in order_of(spec.steps):
        step = steps[name]
        if step.conditional:
            found[name] = "may be skipped"
        elif step.optional:
            found[name] = "is optional"
        elif step.join == "any" and all(found.get(before) for before in step.after):
            found[name] = "is skipped when all that it waits for are"
        elif step.approval is not None and found.get(step.approval.of):
            found[name] = f"approves {step.approval.of!r}, which {found[step.approval.of]}"
    return found


def _reads(
    step: StepSpec, outputs: Mapping[str, Any], nullable: Mapping[str, str]
) -> dict[str, _Source]:
    """What the parameters of a step's agents may be."""
    first_of = "need not have ended when another one is done" if step.join == "any" else ""

    def source(name: str) -> _Source:
        if name == step.name:
            return _Source(outputs[name], "has no output before its first round")
        return _Source(outputs[name], first_of or nullable[name])

    if step.inputs:
        return {
            name: source(text) if text in outputs else _UNKNOWN
            for name, text in step.inputs.items()
        }
    own = () if step.loop is None else (step.name,)
    return {name: source(name) for name in (*step.after, *own) if name in outputs}


def _check_data(place: str, agent: Agent, *, mapped: bool) -> None:
    """The first parameter is an item of a map, or the event's data, which is an object."""
    if not mapped and not holds_data(agent.data_type):
        raise DeclarationError(
            f"{place}: the first parameter of {agent.spec.name!r}, the event's data, is "
            f"{shown(agent.data_type)}: use a pydantic model or dict, or give the step a `map`"
        )


def _check_inputs(
    place: str,
    agent: Agent,
    reads: Mapping[str, _Source],
    outputs: Mapping[str, Any],
    step: StepSpec,
) -> None:
    """What a function reads must be there, be of that type, and be `| None` where it may be."""
    for source in agent.inputs:
        found = reads.get(source.name)
        if found is None:
            raise DeclarationError(
                f"{place}: {agent.spec.name!r} reads {source.name!r}, "
                + _why_missing(source.name, step, outputs)
            )
        if found is not _UNKNOWN:
            _check_source(place, agent, source.name, found)


def _check_source(place: str, agent: Agent, name: str, found: _Source) -> None:
    source = next(each for each in agent.inputs if each.name == name)
    if source.optional != bool(found.null):
        change = "add `| None`" if found.null else "remove `| None`"
        raise DeclarationError(
            f"{place}: parameter {name!r} of {agent.spec.name!r}: the step "
            f"{found.null or 'is not optional'}: {change}"
        )
    if source.type is not Any and found.type is not Any and source.type != found.type:
        raise DeclarationError(
            f"{place}: parameter {name!r} of {agent.spec.name!r} is {shown(source.type)}, "
            f"but the step returns {shown(found.type)}: make them the same"
        )


def _why_missing(name: str, step: StepSpec, outputs: Mapping[str, Any]) -> str:
    if name == step.name:
        return "its own output: give it a `loop` or remove the parameter"
    if step.inputs:
        return "which is not among its `inputs`: add it there or remove the parameter"
    if name in outputs:
        return f"which it need not wait for: add {name!r} to `after`"
    return "which is no step of this workflow: add the step or remove the parameter"


def _check_output(place: str, agent: Agent, main: Agent) -> None:
    """A step has an output, and whoever stands in for its agent returns the same."""
    if agent.output_type is NoneType:
        raise DeclarationError(
            f"{place}: {agent.spec.name!r} returns None, which is no output for a step (only an "
            "undo may): write `-> <the output's type>`"
        )
    if agent.output_type != main.output_type:
        raise DeclarationError(
            f"{place}: {agent.spec.name!r}, which stands in for {main.spec.name!r}, returns "
            f"{shown(agent.output_type)}, not {shown(main.output_type)}: make them the same"
        )


def _check_undo(
    place: str,
    undo: Agent,
    step: StepSpec,
    outputs: Mapping[str, Any],
    nullable: Mapping[str, str],
) -> None:
    """An undo reads the step that it undoes, and what that one could read."""
    after = {name: _Source(outputs.get(name, Any), nullable.get(name, "")) for name in step.after}
    if step.join == "any":
        after = {name: _Source(found.type, "need not have ended") for name, found in after.items()}
    reads = after | {step.name: _Source(outputs[step.name])}
    for source in undo.inputs:
        if source.name not in reads:
            raise DeclarationError(
                f"{place}: its undo {undo.spec.name!r} reads {source.name!r}: an undo may read "
                f"{', '.join(sorted(reads))}: remove the parameter"
            )
        _check_source(place, undo, source.name, reads[source.name])


def shown(kind: Any) -> str:
    """A type as a person writes it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


_UNKNOWN = _Source(Any)
