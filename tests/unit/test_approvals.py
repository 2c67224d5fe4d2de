"""Approvals and reviews: decisions of any order, number and lateness."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.effects import Answered, Ask, Ignored
from schemas.approval import action_hash_of
from schemas.commands import Cancel
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, StepSpec
from tests.unit.machine import START, Machine, sent
from tests.unit.waiting import decides, endings, plan_of, question, refund, result, review, status

# --- approvals


def test_an_approved_action_is_the_output_of_its_step() -> None:
    machine = refund()
    asked = question(machine, "approve")
    assert asked.action == "billing"
    assert asked.action_hash == action_hash_of("billing")
    assert asked.approval_id == task_id_of(machine.case.case_id, "approve")
    assert [e for e in machine.effects if isinstance(e, Ask)] == [Ask("approve")]
    assert status(machine) == "waiting"
    assert "approve waits for a person until" in (machine.case.reason or "")

    assert sent(decides(machine, "approve")) == ["reply"]
    assert machine.case.steps["approve"].output == "billing"
    assert machine.case.steps["approve"].question is None
    assert endings(machine) == [("approve", "ann")]


def test_a_correction_takes_the_place_of_the_action() -> None:
    machine = refund()
    decides(machine, "approve", "correct", correction={"usd": 10})

    assert machine.case.steps["approve"].output == {"usd": 10}
    assert endings(machine) == [("correct", "ann")]


@pytest.mark.parametrize(
    ("policy", "ends"), [("skip", ""), ("escalate", "escalated"), ("fail", "failed")]
)
def test_a_rejected_action_ends_the_step_as_it_says(policy: str, ends: str) -> None:
    machine = refund(on_reject=policy)
    effects = decides(machine, "approve", "reject")

    if ends:
        assert result(machine).status == ends
        assert result(machine).reason == "approve: rejected: rejected by ann"
    else:
        assert sent(effects) == ["reply"]
    assert endings(machine) == [("reject", "ann")]


def test_why_somebody_decided_is_told_with_the_end() -> None:
    machine = refund(on_reject="fail")
    decides(machine, "approve", "reject", note="paid twice")

    assert result(machine).reason == "approve: rejected: rejected by ann: paid twice"
    assert [e.note for e in machine.effects if isinstance(e, Answered)] == ["paid twice"]


@pytest.mark.parametrize(
    ("policy", "ends"),
    [("skip", ""), ("approve", ""), ("escalate", "escalated"), ("fail", "failed")],
)
def test_a_question_that_nobody_answers_ends_as_its_step_says(policy: str, ends: str) -> None:
    machine = refund(on_expiry=policy)
    machine.at(START + 60)

    assert endings(machine) == [("expired", "")]
    if ends:
        assert result(machine).status == ends
    else:
        expected = "billing" if policy == "approve" else None
        assert machine.case.steps["approve"].output == expected
        machine.says("reply")
        assert result(machine).status == "completed"


def test_of_two_people_who_decide_at_once_the_first_one_counts() -> None:
    machine = refund()
    asked = question(machine, "approve")
    bound = {"approval_id": asked.approval_id, "action_hash": asked.action_hash}
    decides(machine, "approve", "reject", by="ann")

    assert decides(machine, "approve", "approve", by="bob", **bound) == [Ignored("no_question")]
    assert endings(machine) == [("reject", "ann")]


def test_a_decision_about_another_action_does_not_count() -> None:
    machine = refund()
    before = machine.case

    assert decides(machine, "approve", action_hash="0" * 64) == [Ignored("wrong_hash")]
    assert machine.case is before


def test_a_decision_after_the_expiry_or_before_the_question_does_not_count() -> None:
    early = Machine(refund().plan)
    assert decides(early, "approve") == [Ignored("no_question")]

    machine = refund()
    asked = question(machine, "approve")
    bound = {"approval_id": asked.approval_id, "action_hash": asked.action_hash}
    machine.at(START + 60)
    assert decides(machine, "approve", **bound) == [Ignored("no_question")]
    assert decides(machine, "approve", approval_id="nonsense") == [Ignored("no_question")]


def test_a_question_is_withdrawn_when_its_case_ends() -> None:
    machine = refund()
    machine.do(Cancel(case_id=machine.case.case_id))

    assert endings(machine) == [("withdrawn", "")]


def test_a_question_is_withdrawn_when_its_branch_loses_a_race() -> None:
    machine = Machine(
        plan_of(
            StepSpec(name="triage", agent="triage"),
            StepSpec(name="ask", approval=ApprovalSpec(of="data")),
            StepSpec(name="reply", agent="reply", after=("triage", "ask"), join="any"),
        )
    )
    machine.says("triage")

    assert status(machine, "ask") == "skipped"
    assert endings(machine) == [("withdrawn", "")]


def test_an_action_that_cannot_be_computed_ends_the_case_as_its_step_says() -> None:
    machine = Machine(
        plan_of(
            StepSpec(name="ask", approval=ApprovalSpec(of="max(data.ticket_id)")),
        )
    )

    assert result(machine).status == "escalated"
    assert "bad_expression" in (result(machine).reason or "")


# --- reviews


def test_an_unsure_output_is_reviewed_by_a_person() -> None:
    machine = review()
    asked = question(machine, "kb")
    assert status(machine, "kb") == "asking"
    assert (asked.action, asked.confidence) == ({"by": "kb"}, 0.5)
    assert [e for e in machine.effects if isinstance(e, Ask)] == [
        Ask("kb", "kb: confidence 0.50 is below 0.80")
    ]

    assert sent(decides(machine, "kb")) == ["reply"]
    kb = machine.case.steps["kb"]
    assert (kb.output, kb.confidence, kb.agent) == ({"by": "kb"}, 1.0, "kb")


def test_a_sure_output_is_not_reviewed() -> None:
    machine = Machine(review().plan)

    assert sent(machine.says("kb", confidence=0.8)) == ["reply"]


def test_a_reviewed_output_may_be_corrected() -> None:
    machine = review()
    decides(machine, "kb", "correct", correction={"by": "ann"})
    machine.says("reply")

    assert machine.case.steps["kb"].output == {"by": "ann"}
    assert result(machine).status == "completed"


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, "escalated"),
        ({"on_dead_letter": "park"}, "escalated"),
        ({"on_dead_letter": "fail"}, "failed"),
        ({"optional": True}, "degraded"),
    ],
)
def test_a_rejected_output_is_a_step_that_failed(fields: dict[str, Any], ends: str) -> None:
    machine = review(**fields)
    decides(machine, "kb", "reject")
    if ends == "degraded":
        machine.says("reply")

    assert result(machine).status == ends


@pytest.mark.parametrize(
    ("policy", "ends"),
    [("approve", "completed"), ("escalate", "escalated"), ("fail", "failed")],
)
def test_a_review_that_nobody_answers_ends_as_its_step_says(policy: str, ends: str) -> None:
    machine = review(on_expiry=policy)
    machine.at(START + 60)
    if policy == "approve":
        assert machine.case.steps["kb"].confidence == 0.5
        machine.says("reply")

    assert result(machine).status == ends
    assert endings(machine) == [("expired", "")]


def test_a_late_outcome_of_a_step_under_review_changes_nothing() -> None:
    machine = review()
    before = machine.case

    assert machine.says("kb", confidence=1.0) == [Ignored("stale")]
    assert machine.case is before
