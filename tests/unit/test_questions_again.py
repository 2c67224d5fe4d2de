"""A question that comes again after a replay is another question, with an id of its own."""

from __future__ import annotations

from coordinator.effects import Ask
from coordinator.workflow import compile_workflow
from schemas.commands import Decision, Replay
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, StepSpec, WorkflowSpec
from tests.unit.machine import AGENTS, Machine

STEPS = (
    StepSpec(name="triage", agent="triage"),
    StepSpec(name="consent", approval=ApprovalSpec(of="triage"), after=("triage",)),
    StepSpec(name="kb", agent="kb", after=("triage",)),
)


def asking() -> Machine:
    spec = WorkflowSpec(name="ticket", on=("ticket.created",), steps=STEPS)
    machine = Machine(compile_workflow(spec, AGENTS))
    machine.says("triage")
    assert machine.case.steps["consent"].status == "asking"
    return machine


def approval_id(machine: Machine) -> str:
    question = machine.case.steps["consent"].question
    assert question is not None
    return question.approval_id


def test_a_withdrawn_question_is_asked_again_under_another_id() -> None:
    machine = asking()
    first = approval_id(machine)
    machine.says("kb", "failed")
    letter = task_id_of(machine.case.case_id, "kb")
    machine.do(Replay(case_id=machine.case.case_id, task_id=letter, command_id="dlq:0:1"))

    assert machine.case.steps["consent"].status == "asking"
    assert approval_id(machine) != first
    assert len([effect for effect in machine.effects if isinstance(effect, Ask)]) == 2


def test_an_answer_to_the_first_question_does_not_decide_the_second() -> None:
    machine = asking()
    question = machine.case.steps["consent"].question
    assert question is not None
    machine.says("kb", "failed")
    letter = task_id_of(machine.case.case_id, "kb")
    machine.do(Replay(case_id=machine.case.case_id, task_id=letter, command_id="dlq:0:1"))
    machine.do(
        Decision(
            case_id=machine.case.case_id,
            approval_id=question.approval_id,
            verdict="reject",
            action_hash=question.action_hash,
            by="late",
        )
    )

    assert machine.case.steps["consent"].status == "asking"
