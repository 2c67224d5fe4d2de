"""Waits: signals of any order, number and lateness."""

from __future__ import annotations

import pytest

from coordinator.case import next_due
from coordinator.effects import Ignored, Tune
from coordinator.waits import HEARD_MAX, SIGNALS_MAX
from schemas.commands import Cancel, Replay
from schemas.task import task_id_of
from schemas.workflow import ApprovalSpec, StepSpec, WaitSpec
from tests.unit.machine import START, Machine, event, sent
from tests.unit.waiting import (
    DAY_S,
    REPLIED,
    decides,
    plan_of,
    refund,
    result,
    signal,
    status,
    talk,
)


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


def test_signals_that_no_step_took_are_counted_when_the_case_ends() -> None:
    machine = talk()
    signal(machine)
    signal(machine)
    effects = machine.do(Cancel(case_id=machine.case.case_id))

    assert [e for e in effects if isinstance(e, Ignored)] == [Ignored("unheard")] * 2
    assert machine.case.heard == ()


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
