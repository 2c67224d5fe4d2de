"""Whatever the world says, in whatever order: questions end once, and waiting has an end."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.case import next_due
from coordinator.effects import Answered, Ask, Ignored, Publish, Tune
from coordinator.states import PASSIVE
from schemas.commands import Cancel, Decision, Signal
from schemas.lean_case import CLOSED
from schemas.workflow import ApprovalSpec, StepSpec, WaitSpec
from tests.unit.machine import START, Machine
from tests.unit.waiting import plan_of

STEPS = ("greet", "heard", "approve", "kb", "again", "reply")
PLAN = plan_of(
    StepSpec(name="greet", agent="triage"),
    StepSpec(
        name="heard", after=("greet",), wait=WaitSpec(event="a", timeout_s=50, on_timeout="skip")
    ),
    StepSpec(
        name="approve",
        after=("heard",),
        approval=ApprovalSpec(of="data", timeout_s=30, on_expiry="approve", on_reject="skip"),
    ),
    StepSpec(name="kb", agent="kb", review_below=0.5, review_timeout_s=20),
    StepSpec(name="again", after=("kb",), optional=True, wait=WaitSpec(event="b", timeout_s=40)),
    StepSpec(name="reply", agent="reply", after=("approve", "again")),
    deadline_s=300,
)

Moves = st.lists(
    st.one_of(
        st.tuples(st.just("signal"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(
            st.just("decide"),
            st.sampled_from(("approve", "kb")),
            st.sampled_from(("approve", "reject", "correct", "other hash")),
        ),
        st.tuples(
            st.just("says"),
            st.sampled_from(("greet", "kb", "reply")),
            st.sampled_from((0.1, 0.9)),
        ),
        st.tuples(st.just("time"), st.sampled_from((5, 25, 60)), st.none()),
        st.tuples(st.just("cancel"), st.none(), st.none()),
    ),
    min_size=5,
    max_size=25,
)


def act(machine: Machine, kind: str, what: Any, how: Any) -> None:
    case_id = machine.case.case_id
    match kind:
        case "signal":
            command: Any = Signal(case_id=case_id, name=what, data=how, signal_id=f"{what}{how}")
        case "decide":
            question = machine.case.steps[what].question
            command = Decision(
                case_id=case_id,
                approval_id=question.approval_id if question else f"{case_id}:{what}",
                verdict="approve" if how == "other hash" else how,
                action_hash=question.action_hash if question and how != "other hash" else "0",
                by="ann",
            )
        case "says":
            machine.says(what, confidence=how)
            return
        case "time":
            machine.at(machine.now + what)
            return
        case _:
            command = Cancel(case_id=case_id)
    told = machine.do(command)
    assert how != "other hash" or [type(effect) for effect in told] == [Ignored]
    before = machine.case
    again = machine.do(command)  # I5
    assert machine.case is before, (kind, what, how)
    assert [type(effect) for effect in again] == [Ignored]


@given(Moves)
def test_questions_end_once_and_waiting_has_an_end(moves: list[tuple[str, Any, Any]]) -> None:
    machine = Machine(PLAN)
    for move in moves:
        act(machine, *move)
        case = machine.case
        assert type(case).from_json(case.to_compact_json()) == case
        if case.status == "waiting":
            assert any(state.status in PASSIVE for state in case.steps.values())
            assert case.reason
            assert isfinite(next_due(case, 0))
    for _ in range(4):
        machine.at(machine.now + 300)

    assert machine.case.status in CLOSED
    assert machine.now >= START
    effects = machine.effects
    assert sum(isinstance(effect, Publish) for effect in effects) == 1
    asked = [effect.step for effect in effects if isinstance(effect, Ask)]
    ended = [effect.step for effect in effects if isinstance(effect, Answered)]
    assert sorted(asked) == sorted(ended)
    tuned = [(effect.event_type, effect.on) for effect in effects if isinstance(effect, Tune)]
    assert tuned == [("a", True), ("b", True), ("a", False), ("b", False)]
