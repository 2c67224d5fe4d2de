"""Workflows as validated data: what `App`, YAML and planners propose is checked here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from coordinator.off_peak import OffPeak, off_peak_of
from coordinator.workflow_problems import STEPS_MAX, order_of, problems_of, readers_of
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import StepSpec, WorkflowSpec

__all__ = ["STEPS_MAX", "Plan", "agents_of", "compile_all", "compile_workflow", "incompatibilities"]

PROBLEMS_MAX = 20
"""An error tells no more problems than this, and how many there are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow that may run: steps in an order that respects what each reads."""

    spec: WorkflowSpec
    steps: Mapping[str, StepSpec]
    order: tuple[str, ...]
    readers: Mapping[str, tuple[str, ...]]
    """Who has a step in its `after`; a step that nobody reads has no entry."""
    sinks: tuple[str, ...]
    """The steps that no other step reads: their output is the result's."""
    waits: tuple[str, ...]
    """The event types (and signals) that its steps wait for, sorted."""
    agents: Mapping[str, AgentSpec]
    """All that are known: agents may ask for each other."""
    off_peak: OffPeak | None
    """When deferred events begin."""
    races: bool
    """Whether some step starts before all that it reads has ended."""

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.spec.name

    def knowing(self, agents: Mapping[str, AgentSpec]) -> Plan:
        """The plan with more agents that its own may ask for work; those it names stay."""
        return replace(self, agents={**agents, **self.agents})

    def spec_of(self, key: str) -> StepSpec:
        """The step, also of an item of a `map` (`check:17`). Raises `KeyError`."""
        found = self.steps.get(key)
        return found if found is not None else self.steps[key.partition(":")[0]]


def compile_workflow(spec: WorkflowSpec, agents: Mapping[str, AgentSpec]) -> Plan:
    """Check a workflow and put its steps in order.

    Raises `DeclarationError` with every problem found, each with its place and what to change.
    """
    problems = problems_of(spec, agents)
    if problems:
        more = len(problems) - PROBLEMS_MAX
        told = (*problems[:PROBLEMS_MAX], *((f"and {more} more",) if more > 0 else ()))
        raise DeclarationError(f"workflow {spec.name!r}: " + "; ".join(told))
    return assemble(spec, agents)


def assemble(spec: WorkflowSpec, agents: Mapping[str, AgentSpec]) -> Plan:
    """The plan of a workflow that was checked before."""
    steps = {step.name: step for step in spec.steps}
    readers = readers_of(spec.steps)
    return Plan(
        spec=spec if spec.version else spec.evolve(version=digest(spec)),
        steps=steps,
        order=tuple(order_of(spec.steps)),
        readers=readers,
        sinks=tuple(name for name in steps if name not in readers),
        waits=tuple(sorted({step.wait.event for step in spec.steps if step.wait is not None})),
        agents=dict(agents),
        off_peak=off_peak_of(spec.off_peak, spec.off_peak_zone) if spec.off_peak else None,
        races=any(step.join == "any" for step in spec.steps),
    )


def agents_of(step: StepSpec) -> tuple[str, ...]:
    """The agents that a step may ask."""
    named = (step.agent, *step.stand_ins, step.escalate_to, step.undo)
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
    for plan in plans:
        for event_type in sorted(owner.keys() & set(plan.waits)):
            raise DeclarationError(
                f"workflow {plan.name!r} waits for event type {event_type!r}, which opens workflow "
                f"{owner[event_type]!r}: an event does one of both, so wait for another type"
            )
    return plans


def digest(spec: WorkflowSpec) -> str:
    """A short name for exactly this workflow."""
    body = spec.evolve(version="").to_json()
    return blake2b(body, digest_size=5).hexdigest()


def incompatibilities(old: WorkflowSpec, new: WorkflowSpec) -> tuple[str, ...]:
    """What a case begun on `old` could not survive on `new`; empty when it goes on there.

    Compatible are other limits (times, attempts, thresholds, concurrency), other people to turn to
    (fallback, escalate_to, undo), other endings (on_timeout, on_expiry, on_dead_letter, optional),
    other result types, more event types, and another order of writing.
    """
    found = [f"event type {name!r} is gone" for name in old.on if name not in new.on]
    before = {step.name: step for step in old.steps}
    after = {step.name: step for step in new.steps}
    found += [f"step {name!r} is gone" for name in before if name not in after]
    found += [f"step {name!r} is new" for name in after if name not in before]
    for name in (name for name in before if name in after):
        was, now = _shape(before[name]), _shape(after[name])
        found += [f"step {name!r}: `{part}` changed" for part in was if was[part] != now[part]]
    return tuple(found)


def _shape(step: StepSpec) -> dict[str, object]:
    """What a running case relies on."""
    return {
        "agent": step.agent,
        "after": frozenset(step.after),
        "inputs": step.inputs,
        "when": step.when,
        "join": step.join,
        "map": step.map and step.map.over,
        "loop": step.loop and step.loop.until,
        "wait": step.wait and step.wait.event,
        "approval": step.approval and step.approval.of,
    }
