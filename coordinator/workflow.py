"""Workflows as validated data: what `App`, YAML and planners propose is checked here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import StepSpec, WorkflowSpec

STEPS_MAX = 200
"""More steps than this in one workflow are refused."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow that may run: steps in an order that respects what each reads."""

    spec: WorkflowSpec
    steps: Mapping[str, StepSpec]
    order: tuple[str, ...]
    sinks: tuple[str, ...]
    """The steps that no other step reads: their output is the result's."""
    agents: Mapping[str, AgentSpec]

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.spec.name


def compile_workflow(spec: WorkflowSpec, agents: Mapping[str, AgentSpec]) -> Plan:
    """Check a workflow and put its steps in order.

    Raises `DeclarationError` with every problem found, each with its place and what to change.
    """
    problems = [*_step_problems(spec, agents), *_graph_problems(spec)]
    if problems:
        raise DeclarationError(f"workflow {spec.name!r}: " + "; ".join(problems))
    steps = {step.name: step for step in spec.steps}
    read = {name for step in spec.steps for name in step.after}
    used = {agent for step in spec.steps for agent in agents_of(step)}
    return Plan(
        spec=spec if spec.version else spec.model_copy(update={"version": digest(spec)}),
        steps=steps,
        order=tuple(_order(spec.steps)),
        sinks=tuple(name for name in steps if name not in read),
        agents={name: agents[name] for name in sorted(used)},
    )


def agents_of(step: StepSpec) -> tuple[str, ...]:
    """The agents that a step may ask."""
    named = (step.agent, step.fallback, step.escalate_to, step.undo)
    return tuple(agent for agent in named if agent is not None)


def compile_all(specs: Iterable[WorkflowSpec], agents: Mapping[str, AgentSpec]) -> tuple[Plan, ...]:
    """Compile workflows that run side by side: one workflow at most per event type."""
    plans = tuple(compile_workflow(spec, agents) for spec in specs)
    names: set[str] = set()
    owner: dict[str, str] = {}
    for plan in plans:
        if plan.name in names:
            raise DeclarationError(f"two workflows are named {plan.name!r}: rename one")
        names.add(plan.name)
        for event_type in plan.spec.on:
            if event_type in owner:
                raise DeclarationError(
                    f"event type {event_type!r} opens two workflows, {owner[event_type]!r} and "
                    f"{plan.name!r}: remove it from `on` of one of them"
                )
            owner[event_type] = plan.name
    return plans


def digest(spec: WorkflowSpec) -> str:
    """A short name for exactly this workflow."""
    body = spec.model_copy(update={"version": ""}).to_json()
    return blake2b(body, digest_size=5).hexdigest()


def _step_problems(spec: WorkflowSpec, agents: Mapping[str, AgentSpec]) -> list[str]:
    found: list[str] = []
    if not spec.on:
        found.append("no event type opens it: name one in `on`")
    if not spec.steps:
        found.append("it has no steps: add at least one")
    if len(spec.steps) > STEPS_MAX:
        found.append(f"{len(spec.steps)} steps, at most {STEPS_MAX} are allowed")
    seen: set[str] = set()
    for step in spec.steps:
        if step.name in seen:
            found.append(f"step {step.name!r} stands twice: remove or rename one")
        seen.add(step.name)
        for role in ("agent", "fallback", "escalate_to", "undo"):
            agent = getattr(step, role)
            if agent is not None and agent not in agents:
                known = ", ".join(sorted(agents)) or "none"
                found.append(f"step {step.name!r}: unknown {role} {agent!r} (known: {known})")
        if step.fallback is not None and step.fallback == step.agent:
            found.append(f"step {step.name!r}: its fallback is its own agent")
    return found


def _graph_problems(spec: WorkflowSpec) -> list[str]:
    names = {step.name for step in spec.steps}
    found = [
        f"step {step.name!r} reads {missing!r}, which is no step of this workflow"
        for step in spec.steps
        for missing in step.after
        if missing not in names
    ]
    if not found and len(_order(spec.steps)) < len(names):
        stuck = sorted(names - set(_order(spec.steps)))
        found.append(f"a cycle among the steps {', '.join(stuck)}: one of them must not read back")
    return found


def _order(steps: tuple[StepSpec, ...]) -> list[str]:
    """Names in the order of Kahn's algorithm, ties as written; steps on a cycle are left out."""
    order: list[str] = []
    placed: set[str] = set()
    while True:
        free = [s.name for s in steps if s.name not in placed and placed.issuperset(s.after)]
        if not free:
            return order
        order += dict.fromkeys(free)
        placed.update(free)
