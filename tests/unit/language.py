"""Small workflows in the whole language, and a machine that runs one."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Publish
from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.event import Event
from schemas.result import Result
from schemas.workflow import MapSpec, StepSpec, WorkflowSpec
from tests.unit.machine import START, Machine

NAMES = ("first", "second", "third", "check", "collect", "spare", "boss", "refund", "release")
AGENTS = {name: AgentSpec(name=name) for name in NAMES}


def plan(*steps: StepSpec, **fields: Any) -> Plan:
    spec = WorkflowSpec(name="order", on=("order.placed",), steps=steps, **fields)
    return compile_workflow(spec, AGENTS)


def step(name: str, *after: str, **fields: Any) -> StepSpec:
    return StepSpec(**({"name": name, "agent": name, "after": after} | fields))


def machine(*steps: StepSpec, data: Any = None, **fields: Any) -> Machine:
    event = Event(
        id="o1",
        source="/test",
        type="order.placed",
        time=instant(START),
        data=data if data is not None else {"lines": ["a", "b", "c"], "total": 40},
    )
    return Machine(plan(*steps, **fields), business=event)


def results(it: Machine) -> list[Result]:
    return [effect.result for effect in it.effects if isinstance(effect, Publish)]


def mapped(**fields: Any) -> tuple[StepSpec, ...]:
    """A map over the lines of the order, and a step that reads it."""
    over = MapSpec(over="data.lines", **fields)
    return step("check", map=over), step("collect", "check")
