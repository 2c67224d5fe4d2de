"""Workflows that wait, and shorthands for what the world says to them."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Answered, Publish
from coordinator.workflow import Plan, compile_workflow
from schemas.commands import Decision, Signal
from schemas.lean_case import Question
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, StepSpec, WaitSpec, WorkflowSpec
from tests.unit.machine import AGENTS, Machine

REPLIED = "ticket.replied"
DAY_S = 86_400.0


def plan_of(*steps: StepSpec, **fields: Any) -> Plan:
    spec = WorkflowSpec(name="ticket", on=("ticket.created",), steps=steps, **fields)
    return compile_workflow(spec, AGENTS)


def talk(**wait: Any) -> Machine:
    """triage -> wait for the customer -> reply."""
    waits = WaitSpec(**{"event": REPLIED, "timeout_s": 60, **wait})
    return Machine(
        plan_of(
            StepSpec(name="triage", agent="triage"),
            StepSpec(name="answer", after=("triage",), wait=waits),
            StepSpec(name="reply", agent="reply", after=("answer",)),
        )
    )


def refund(**approval: Any) -> Machine:
    """billing -> a person approves its output -> reply."""
    asks = ApprovalSpec(**{"of": "billing.by", "timeout_s": 60, **approval})
    machine = Machine(
        plan_of(
            StepSpec(name="billing", agent="billing"),
            StepSpec(name="approve", after=("billing",), approval=asks),
            StepSpec(name="reply", agent="reply", after=("approve",)),
        )
    )
    machine.says("billing")
    return machine


def review(**step: Any) -> Machine:
    """kb, whose unsure outputs a person reviews -> reply."""
    machine = Machine(
        plan_of(
            StepSpec(name="kb", agent="kb", review_below=0.8, review_timeout_s=60, **step),
            StepSpec(name="reply", agent="reply", after=("kb",)),
        )
    )
    machine.says("kb", confidence=0.5)
    return machine


def signal(machine: Machine, data: Any = "thanks", name: str = REPLIED, id: str = "") -> list[Any]:
    command = Signal(case_id=machine.case.case_id, name=name, data=data, signal_id=id)
    return machine.do(command)


def question(machine: Machine, step: str) -> Question:
    found = machine.case.steps[step].question
    assert found is not None
    return found


def decides(machine: Machine, step: str, verdict: str = "approve", **fields: Any) -> list[Any]:
    state = machine.case.steps[step].question
    asked = state or Question(approval_id=task_id_of(machine.case.case_id, step), action_hash="")
    given = {
        "case_id": machine.case.case_id,
        "approval_id": asked.approval_id,
        "verdict": verdict,
        "action_hash": asked.action_hash,
        "by": "ann",
    }
    return machine.do(Decision(**(given | fields)))


def status(machine: Machine, step: str = "") -> str:
    return machine.case.steps[step].status if step else machine.case.status


def endings(machine: Machine) -> list[tuple[str, str]]:
    return [(e.ending, e.by) for e in machine.effects if isinstance(e, Answered)]


def result(machine: Machine) -> Result:
    (published,) = [e.result for e in machine.effects if isinstance(e, Publish)]
    return published
