"""The workflow language, one case at a time: higher agents, undo, dead letters, delegation."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Ignored
from schemas.commands import Cancel, Drop, Replay
from schemas.outcome import Delegate, Failure
from schemas.task import task_id_of
from schemas.workflow import MapSpec
from tests.unit.language import machine, mapped, results, step
from tests.unit.machine import START, Machine, outcome, sent, work_of

# --- higher agents


def test_a_higher_agent_is_asked_before_people_are() -> None:
    it = machine(step("first", escalate_to="boss", escalate_below=0.5))

    assert sent(it.ends("first", "escalate")) == ["first"]
    assert it.case.steps["first"].agent == "boss"
    it.ends("first", "escalate")
    assert it.case.status == "escalated"


def test_low_confidence_asks_the_higher_agent_too() -> None:
    it = machine(step("first", escalate_to="boss", escalate_below=0.5))
    it.ends("first", confidence=0.2)
    assert it.case.steps["first"].agent == "boss"
    it.ends("first", confidence=0.9)

    assert it.case.status == "completed"


# --- undo


def saga() -> Machine:
    return machine(
        step("first", undo="release"),
        step("second", "first", undo="refund"),
        step("third", "second", on_dead_letter="fail"),
    )


def test_finished_steps_are_undone_in_reverse_order_before_the_case_fails() -> None:
    it = saga()
    it.ends("first", output={"reserved": 1})
    it.ends("second", output={"paid": 40})
    effects = it.ends("third", "failed")

    assert it.case.status == "undoing"
    assert results(it) == []
    assert sent(effects) == ["second~undo"]
    assert work_of(it, "second~undo").results == {"first": {"reserved": 1}, "second": {"paid": 40}}
    assert sent(it.ends("second~undo")) == ["first~undo"]
    it.ends("first~undo")
    (result,) = results(it)
    assert result.status == "failed"
    assert [(name, undo.status) for name, undo in result.undone.items()] == [
        ("second", "done"),
        ("first", "done"),
    ]


def test_who_lost_a_race_and_ended_later_is_undone_before_who_did_not_wait_for_it() -> None:
    it = machine(
        step("first"),
        step("second", undo="release"),
        step("third", "first", "second", join="any", undo="refund"),
        step("check", "second", on_dead_letter="fail"),
    )
    it.ends("first")
    it.ends("third")
    it.now += 1
    it.ends("second")

    assert sent(it.ends("check", "failed")) == ["second~undo"]
    assert sent(it.ends("second~undo")) == ["third~undo"]


def test_what_could_not_be_undone_is_in_the_result() -> None:
    it = saga()
    it.ends("first")
    it.ends("second")
    it.do(Cancel(case_id=it.case.case_id))
    it.ends("second~undo", "failed", error=Failure(kind="gone", message="no such payment"))
    it.ends("first~undo")
    (result,) = results(it)

    assert result.status == "cancelled"
    assert result.undone["second"].status == "failed"
    assert result.undone["second"].error == "gone: no such payment"


def test_an_undo_that_is_done_twice_is_done_once() -> None:
    it = saga()
    it.ends("first")
    it.ends("second")
    it.do(Cancel(case_id=it.case.case_id))
    it.ends("second~undo")

    assert it.ends("second~undo") == [Ignored("late")]
    assert it.do(Cancel(case_id=it.case.case_id)) == [Ignored("undoing")]


def test_a_step_that_turns_out_to_be_done_while_undoing_is_undone_too() -> None:
    it = saga()
    it.ends("first")
    it.do(Cancel(case_id=it.case.case_id))
    it.ends("second")
    assert sent(it.ends("first~undo")) == ["second~undo"]
    it.ends("second~undo")

    assert set(results(it)[0].undone) == {"first", "second"}


def test_of_a_map_that_failed_half_way_the_finished_items_are_undone() -> None:
    over = MapSpec(over="data.lines", concurrency=1)
    it = machine(step("check", map=over, undo="release", on_dead_letter="fail"))
    it.ends("check:0", output="A")
    effects = it.ends("check:1", "failed")

    assert sent(effects) == ["check~undo"]
    assert work_of(it, "check~undo").results == {"check": ["A"]}
    it.ends("check~undo")
    assert results(it)[0].status == "failed"


def test_undoing_has_an_end() -> None:
    it = saga()
    it.ends("first")
    it.ends("second")
    it.do(Cancel(case_id=it.case.case_id))
    it.at(START + 3600)
    (result,) = results(it)

    assert result.status == "cancelled"
    assert {undo.status for undo in result.undone.values()} == {"failed"}


def test_a_replay_after_undoing_does_everything_anew() -> None:
    it = saga()
    it.ends("first")
    it.ends("second")
    it.ends("third", "failed")
    it.ends("second~undo")
    it.ends("first~undo")
    task_id = task_id_of(it.case.case_id, "third")
    again = it.do(Replay(case_id=it.case.case_id, task_id=task_id, command_id="dlq:0:1"))
    assert sent(again) == ["first"]
    assert it.case.steps["first"].replay == 1
    for name in ("first", "second", "third"):
        it.ends(name)

    assert results(it)[-1].status == "completed"
    assert results(it)[-1].undone == {}


def test_an_escalated_case_keeps_what_was_done() -> None:
    it = machine(step("first", undo="release"), step("second", "first"))
    it.ends("first")
    it.ends("second", "failed")

    assert it.case.status == "escalated"


# --- dead letters


def test_a_replay_may_give_the_agent_something_else() -> None:
    it = machine(*mapped(concurrency=1))
    it.ends("check:0", "failed")
    letter = {"task_id": task_id_of(it.case.case_id, "check:0"), "command_id": "dlq:0:1"}
    it.do(Replay(case_id=it.case.case_id, input="corrected", **letter))

    assert work_of(it, "check:0").input == "corrected"
    it.ends("check:0", "retry")
    it.at(it.case.steps["check"].due or 0)
    assert work_of(it, "check:0").input == "corrected"


def test_a_case_that_was_parked_for_a_dropped_letter_ends() -> None:
    it = machine(step("first", on_dead_letter="park"))
    it.ends("first", "failed")
    assert it.case.reason == "first: boom: it broke"  # parked
    letter = {"task_id": task_id_of(it.case.case_id, "first"), "command_id": "dlq:0:1"}
    drop = Drop(case_id=it.case.case_id, why="a test order", **letter)
    it.do(drop)

    assert it.case.status == "failed"
    assert it.case.dead_letters == ()
    assert results(it)[0].reason == "first: dropped: a test order"
    assert it.do(drop) == [Ignored("nothing_to_replay")]


# --- delegation


def asks(*names: str, **after: tuple[str, ...]) -> tuple[Delegate, ...]:
    return tuple(
        Delegate(name=name, agent=name, input={"for": name}, after=after.get(name, ()))
        for name in names
    )


def test_an_agent_hands_its_step_on_and_ends_with_what_comes_back() -> None:
    it = machine(step("first"), step("collect", "first"))
    effects = it.ends("first", "delegate", delegates=asks("second", "third", third=("second",)))
    assert sent(effects) == ["first.second"]
    assert work_of(it, "first.second").input == {"for": "second"}
    assert sent(it.ends("first.second", output=2)) == ["first.third"]
    assert work_of(it, "first.third").results == {"second": 2}
    assert sent(it.ends("first.third", output=3)) == ["collect"]

    assert work_of(it, "collect").results == {"first": 3}
    it.ends("collect")
    assert it.case.status == "completed"
    assert set(results(it)[0].steps) == {"first", "collect", "first.second", "first.third"}


def test_a_delegation_that_cannot_be_is_refused_with_the_reason() -> None:
    wrong = {
        "unknown agent": (Delegate(name="x", agent="nobody"),),
        "a cycle": asks("second", "third", second=("third",), third=("second",)),
        "siblings only": asks("second", second=("first",)),
        "0 steps": (),
        "21 steps": tuple(Delegate(name=f"s{n}", agent="second") for n in range(21)),
    }
    for text, delegates in wrong.items():
        it = machine(step("first"))
        it.ends("first", "delegate", delegates=delegates)

        assert it.case.status == "escalated", text
        assert text in (it.case.reason or "")


def test_delegation_goes_only_so_deep() -> None:
    it = machine(step("first"))
    key = "first"
    for _ in range(3):
        it.ends(key, "delegate", delegates=asks("second"))
        key += ".second"
    it.ends(key, "delegate", delegates=asks("second"))

    assert it.case.status == "escalated"
    assert "delegated 3 times already" in (it.case.reason or "")


def test_when_a_delegated_step_fails_so_does_the_step_that_asked_for_it() -> None:
    it = machine(step("first", fallback="spare"))
    it.ends("first", "delegate", delegates=asks("second", "third"))
    effects = it.ends("first.second", "failed")

    assert sent(effects) == ["first"]
    assert it.case.steps["first"].agent == "spare"
    assert set(it.case.steps) == {"first"}
    late = outcome_of(it, "first.third")
    assert late == [Ignored("unknown_step")]


def outcome_of(it: Machine, key: str) -> list[Any]:
    """An outcome for a step that the case has forgotten."""
    task_id = task_id_of(it.case.case_id, key)
    return it.do(outcome(it.case, "first", task_id=task_id, agent="third", attempt=1))
