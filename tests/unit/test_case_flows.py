"""Regressions of the case machine: what properties over random workflows have found, each small."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Publish
from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.commands import Replay
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import LoopSpec, MapSpec, StepSpec, WorkflowSpec
from tests.unit.machine import Machine, event, sent

AGENTS = {name: AgentSpec(name=name) for name in ("ann", "bob", "sub", "boss", "undoer")}


def plan(*steps: StepSpec, **fields: Any) -> Plan:
    spec = WorkflowSpec(name="flow", on=("ticket.created",), steps=steps, **fields)
    return compile_workflow(spec, AGENTS)


def step(name: str, *after: str, **fields: Any) -> StepSpec:
    return StepSpec(**({"name": name, "agent": "ann", "after": after} | fields))


def case_of(*steps: StepSpec, data: Any = None, **fields: Any) -> Machine:
    business = event().model_copy(update={"data": data if data is not None else {"list": [1, 2]}})
    return Machine(plan(*steps, **fields), business=business)


def results(it: Machine) -> list[Result]:
    return [effect.result for effect in it.effects if isinstance(effect, Publish)]


def replay(it: Machine, key: str, letter: int = 0) -> list[Any]:
    state = it.state(key)
    task_id = task_id_of(it.case.case_id, key, state.replay, state.iteration)
    return it.do(Replay(case_id=it.case.case_id, task_id=task_id, command_id=f"dlq:0:{letter}"))


def test_an_optional_loop_whose_condition_breaks_lets_the_rest_go_on() -> None:
    loop = LoopSpec(until="length(output) > `1`")
    it = case_of(step("a", loop=loop, optional=True), step("b", "a"))

    assert sent(it.ends("a", output=7)) == ["b"]
    it.ends("b")
    assert results(it)[0].status == "degraded"


def test_inputs_that_break_on_a_replay_end_the_case_again() -> None:
    it = case_of(step("a", inputs={"x": "length(`1`)"}))
    assert results(it)[0].status == "escalated"
    replay(it, "a")

    assert [result.status for result in results(it)] == ["escalated", "escalated"]


def test_an_item_whose_inputs_break_ends_its_step_and_no_other_is_sent() -> None:
    it = case_of(step("a", map=MapSpec(over="data.list"), inputs={"x": "length(`1`)"}))

    assert sent(it.effects) == []
    assert results(it)[0].status == "escalated"
