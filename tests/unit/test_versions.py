"""A case stays on the workflow that it began with; a version that cases run on stays what it is."""

from __future__ import annotations

import pytest

from coordinator.workflow import Plan, compile_workflow
from events.broker import TopicPartition
from events.errors import DeclarationError
from events.partitioner import partition_of
from schemas.agent import AgentSpec
from schemas.outcome import Delegate
from schemas.result import Result
from schemas.workflow import StepSpec
from tests.unit.machine import AGENTS, START, event, opened, outcome
from tests.unit.test_orchestrator import PARTITIONS, Desk


def longer(plan: Plan, *, version: str = "") -> Plan:
    """The plan with one more step."""
    more = (*plan.spec.steps, StepSpec(name="extra", agent="spare"))
    return compile_workflow(plan.spec.evolve(steps=more, version=version), AGENTS)


def numbered(plan: Plan, version: str) -> Plan:
    return compile_workflow(plan.spec.evolve(version=version), AGENTS)


def redeployed(desk: Desk, plan: Plan) -> None:
    desk.plan = plan
    desk.it = desk.restarted()
    for partition in range(PARTITIONS):
        desk.it.restored(TopicPartition("cw.inbox", partition), 0)


def go_through(desk: Desk, case_id: str, *steps: str) -> Result:
    for step in steps:
        case = desk.case(case_id)
        assert case is not None
        desk.tell(outcome(case, step))
    return Result.from_json(desk.to("cw.results.ticket")[-1].value or b"")


def test_an_open_case_ends_on_its_version_and_a_new_one_begins_on_the_new() -> None:
    desk = Desk()
    old = opened(desk.plan, event("old"))
    desk.tell(old)
    before = desk.plan.spec.version
    redeployed(desk, longer(desk.plan))
    new = opened(desk.plan, event("new"))
    desk.tell(new)

    first = go_through(desk, old.case_id, "triage", "billing", "kb", "reply")
    then = go_through(desk, new.case_id, "triage", "billing", "kb", "extra", "reply")
    assert (first.workflow_version, "extra" in first.steps) == (before, False)
    assert (then.workflow_version, "extra" in then.steps) == (desk.plan.spec.version, True)
    assert first.status == then.status == "completed"


def test_a_case_whose_workflow_is_gone_ends_on_the_version_that_was_noted() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    other = compile_workflow(desk.plan.spec.evolve(name="other", version=""), AGENTS)
    redeployed(desk, other)

    result = go_through(desk, command.case_id, "triage", "billing", "kb", "reply")
    assert result.status == "completed"


def test_a_version_is_noted_once_and_not_with_every_case() -> None:
    desk = Desk()
    first, second = opened(desk.plan, event("e1")), opened(desk.plan, event("e2"))
    desk.tell(first, first, second)
    desk.tell(second)

    notes = [r for r in desk.to("cw.cases") if (r.key or b"").startswith(b"\0plan/")]
    homes = {partition_of(each.case_id.encode(), PARTITIONS) for each in (first, second)}
    assert len(notes) == len(homes)


def test_an_incompatible_change_to_a_running_version_is_refused() -> None:
    desk = Desk()
    desk.plan = numbered(desk.plan, "7")
    desk.it = desk.new()
    for partition in range(PARTITIONS):
        desk.it.adopt(TopicPartition("cw.inbox", partition), 0, desk.now)
    desk.tell(opened(desk.plan))

    with pytest.raises(DeclarationError, match=r"version '7' has run with other steps.*'extra'"):
        redeployed(desk, longer(desk.plan, version="7"))


def test_other_limits_are_taken_over_by_running_cases() -> None:
    desk = Desk()
    desk.plan = numbered(desk.plan, "7")
    desk.it = desk.restarted()
    command = opened(desk.plan)
    desk.tell(command)
    triage, *rest = desk.plan.spec.steps
    patient = (triage.evolve(attempts_max=1), *rest)
    redeployed(desk, compile_workflow(desk.plan.spec.evolve(steps=patient), AGENTS))
    case = desk.case(command.case_id)
    assert case is not None
    desk.tell(outcome(case, "triage", "retry"))

    case = desk.case(command.case_id)
    assert case is not None
    assert case.status == "escalated"
    assert case.opened == START


def test_a_case_of_an_older_version_may_ask_agents_that_its_steps_do_not_name() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    redeployed(desk, longer(desk.plan))
    case = desk.case(command.case_id)
    assert case is not None
    asked = (Delegate(name="look", agent="other"),)
    desk.plan = desk.plan.knowing({"other": AgentSpec(name="other")})
    desk.it = desk.restarted()
    desk.tell(outcome(case, "triage", "delegate", delegates=asked))

    assert len(desk.to("cw.tasks.other")) == 1
