"""Waits, approvals and reviews: signals and decisions of any order, number and lateness."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.case import next_due
from coordinator.effects import Answered, Ask, Ignored, Publish, Tune
from coordinator.waits import HEARD_MAX, SIGNALS_MAX
from coordinator.workflow import Plan, compile_workflow
from schemas.approval import action_hash_of
from schemas.case import Question
from schemas.commands import Cancel, Decision, Replay, Signal
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, StepSpec, WaitSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START, Machine, event, sent

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


# --- waits


def test_a_step_that_waits_ends_with_the_data_of_the_event() -> None:
    machine = talk()
    machine.says("triage")
    assert status(machine) == "waiting"
    assert sent(signal(machine, {"body": "thanks"})) == ["reply"]

    assert status(machine) == "open"
    assert machine.case.steps["answer"].output == {"body": "thanks"}
    assert machine.case.steps["answer"].ended == START
    machine.says("reply")
    assert result(machine).status == "completed"


def test_a_case_that_waits_says_for_what_and_until_when() -> None:
    machine = talk()
    machine.says("triage")

    assert machine.case.reason == "answer waits for ticket.replied until 1970-01-12 13:47:40Z"
    assert next_due(machine.case, 0) == START + 60


def test_a_signal_that_came_early_is_heard_when_its_step_starts() -> None:
    machine = talk()
    signal(machine, "early")
    assert status(machine) == "open"
    assert sent(machine.says("triage")) == ["reply"]

    assert machine.case.steps["answer"].output == "early"
    assert machine.case.heard == ()


def test_signals_are_heard_in_the_order_in_which_they_came() -> None:
    wait = WaitSpec(event=REPLIED, timeout_s=60)
    machine = Machine(
        plan_of(
            StepSpec(name="one", wait=wait),
            StepSpec(name="two", after=("one",), wait=wait),
            StepSpec(name="triage", agent="triage", after=("two",)),
            StepSpec(name="three", after=("triage",), wait=wait),
        )
    )
    for said in ("a", "b", "c", "d"):
        signal(machine, said)
    machine.says("triage")

    outputs = {name: state.output for name, state in machine.case.steps.items()}
    assert (outputs["one"], outputs["two"], outputs["three"]) == ("a", "b", "c")
    assert result(machine).status == "completed"


def test_the_same_signal_twice_is_one() -> None:
    machine = talk()
    signal(machine, id="s1")
    before = machine.case

    assert signal(machine, id="s1") == [Ignored("signalled_already")]
    assert machine.case is before
    machine.says("triage")
    assert signal(machine, id="s1") == [Ignored("signalled_already")]


def test_signals_without_an_id_all_count() -> None:
    machine = talk()
    signal(machine)
    signal(machine)

    assert len(machine.case.heard) == 2


def test_a_million_signals_to_one_case_are_bounded() -> None:
    machine = talk()
    for number in range(HEARD_MAX):
        signal(machine, id=f"s{number}")
    before = machine.case

    assert signal(machine, id="one more") == [Ignored("too_many_signals")]
    assert machine.case is before
    machine.says("triage")
    assert len(machine.case.heard) == HEARD_MAX - 1
    for number in range(3 * SIGNALS_MAX):
        machine.case = machine.case.evolve(heard=())
        signal(machine, id=f"t{number}")
    assert len(machine.case.signals) == SIGNALS_MAX


def test_a_signal_that_nobody_waits_for_changes_nothing() -> None:
    machine = talk()

    assert signal(machine, name="ticket.reopened") == [Ignored("unknown_signal")]


def test_a_signal_to_a_case_that_has_ended_changes_nothing() -> None:
    machine = talk()
    machine.do(Cancel(case_id=machine.case.case_id))

    assert signal(machine) == [Ignored("closed_case")]


@pytest.mark.parametrize(
    ("policy", "ends"), [("skip", ""), ("escalate", "escalated"), ("fail", "failed")]
)
def test_nothing_heard_in_time_ends_the_step_as_it_says(policy: str, ends: str) -> None:
    machine = talk(on_timeout=policy)
    machine.says("triage")
    machine.at(START + 59.9)
    assert status(machine, "answer") == "listening"
    machine.at(START + 60)

    if ends:
        told = result(machine)
        assert told.status == ends
        assert told.reason == "answer: timeout: no ticket.replied within 60 s"
        assert status(machine, "answer") == "failed"
    else:
        assert status(machine, "answer") == "skipped"
        machine.says("reply")
        assert result(machine).status == "completed"


def test_an_optional_wait_degrades_its_case_when_nothing_is_heard() -> None:
    waits = WaitSpec(event=REPLIED, timeout_s=60)
    machine = Machine(
        plan_of(
            StepSpec(name="answer", optional=True, wait=waits),
            StepSpec(name="reply", agent="reply", after=("answer",)),
        )
    )
    assert sent(machine.at(START + 60)) == ["reply"]
    machine.says("reply")

    assert result(machine).status == "degraded"


def test_a_case_listens_from_its_opening_to_its_end() -> None:
    machine = talk()
    assert [e for e in machine.effects if isinstance(e, Tune)] == [Tune(REPLIED, on=True)]
    effects = machine.do(Cancel(case_id=machine.case.case_id))

    assert [e for e in effects if isinstance(e, Tune)] == [Tune(REPLIED, on=False)]


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


# --- with other parts of the language


def test_work_goes_on_while_a_step_waits() -> None:
    machine = Machine(
        plan_of(
            StepSpec(name="answer", wait=WaitSpec(event=REPLIED, timeout_s=DAY_S)),
            StepSpec(name="triage", agent="triage"),
            StepSpec(name="reply", agent="reply", after=("answer", "triage")),
            deadline_s=2 * DAY_S,
        )
    )
    assert status(machine) == "open"
    machine.says("triage")
    assert status(machine) == "waiting"
    assert sent(signal(machine)) == ["reply"]


def test_an_unanswered_question_is_asked_again_when_a_replay_opens_the_case() -> None:
    machine = Machine(
        plan_of(
            StepSpec(name="triage", agent="triage", on_dead_letter="park"),
            StepSpec(name="ask", approval=ApprovalSpec(of="data", timeout_s=60)),
            StepSpec(name="reply", agent="reply", after=("triage", "ask")),
        )
    )
    machine.says("triage", "failed")
    machine.at(START + 60)
    assert result(machine).status == "escalated"
    assert machine.case.dead_letters
    case_id = machine.case.case_id
    replay = Replay(case_id=case_id, task_id=task_id_of(case_id, "triage"), command_id="l:0:0")
    machine.do(replay)

    assert status(machine, "ask") == "asking"
    machine.says("triage")
    assert sent(decides(machine, "ask")) == ["reply"]


def test_signals_and_decisions_survive_the_changelog() -> None:
    machine = refund()
    again = type(machine.case).from_json(machine.case.to_compact_json())
    assert again == machine.case
    other = talk()
    signal(other, {"a": [1, None]}, id="s1")
    assert type(other.case).from_json(other.case.to_compact_json()) == other.case


def test_the_event_of_a_case_may_have_no_subject() -> None:
    machine = Machine(talk().plan, business=event(subject=None))
    machine.says("triage")

    assert sent(signal(machine)) == ["reply"]
