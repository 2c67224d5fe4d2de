"""The workflow language, one case at a time: maps, loops, conditions, races, undo, delegation."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Bury, Ignored, Publish
from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.commands import Cancel, Drop, Replay
from schemas.event import Event
from schemas.outcome import Delegate, Failure
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import LoopSpec, MapSpec, StepSpec, WorkflowSpec
from tests.unit.machine import START, Machine, outcome, sent, work_of

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
    over = MapSpec(over="data.lines", **fields)
    return step("check", map=over), step("collect", "check")


# --- map


def test_a_map_sends_a_task_for_each_item_and_no_more_at_once_than_allowed() -> None:
    it = machine(*mapped(concurrency=2))

    assert sent(it.effects) == ["check:0", "check:1"]
    assert [work_of(it, f"check:{n}").input for n in (0, 1)] == ["a", "b"]
    assert sent(it.ends("check:1", output="B")) == ["check:2"]
    assert sent(it.ends("check:0", output="A")) == []
    assert sent(it.ends("check:2", output="C")) == ["collect"]
    assert work_of(it, "collect").results == {"check": ["A", "B", "C"]}


def test_an_item_that_is_done_twice_counts_once() -> None:
    it = machine(*mapped(concurrency=1))
    it.ends("check:0", output="A")
    again = it.ends("check:0", output="other")

    assert again == [Ignored("late")]
    assert it.case.steps["check"].items is not None
    assert it.case.steps["check"].items.done == 1


def test_a_map_over_an_empty_list_is_done_at_once() -> None:
    it = machine(*mapped(), data={"lines": []})

    assert work_of(it, "collect").results == {"check": []}


def test_a_map_over_something_that_is_no_list_escalates_with_the_reason() -> None:
    it = machine(*mapped(), data={"lines": "abc"})

    assert it.case.status == "escalated"
    assert "no list" in (it.case.reason or "")


def test_a_map_over_a_million_items_is_refused() -> None:
    it = machine(*mapped(), data={"lines": list(range(1_000_000))})

    assert it.case.status == "escalated"
    assert "too_many_items" in (it.case.reason or "")


def test_a_failed_item_is_skipped_where_the_policy_says_so() -> None:
    it = machine(*mapped(on_failure="skip"))
    it.ends("check:0", output="A")
    it.ends("check:1", "failed")
    it.ends("check:2", output="C")
    assert work_of(it, "collect").results == {"check": ["A", None, "C"]}
    it.ends("collect")

    assert it.case.status == "degraded"
    assert it.case.reason == "check: 1 of 3 items failed"


def test_a_failed_item_is_replayed_alone() -> None:
    it = machine(*mapped(concurrency=2))
    it.ends("check:0", output="A")
    effects = it.ends("check:1", "failed")
    letter = next(e for e in effects if isinstance(e, Bury))
    assert letter.work.key == "check:1"
    assert it.case.status == "escalated"
    task_id = task_id_of(it.case.case_id, "check:1")
    assert it.case.dead_letters == (task_id,)
    again = it.do(Replay(case_id=it.case.case_id, task_id=task_id, command_id="dlq:0:1"))

    assert sent(again) == ["check:1", "check:2"]  # the second was on its way, unheard of
    it.ends("check:1", output="B")
    it.ends("check:2", output="C")
    it.ends("collect")
    assert work_of(it, "collect").results == {"check": ["A", "B", "C"]}
    assert [result.status for result in results(it)] == ["escalated", "completed"]
    assert results(it)[1].amends == f"{it.case.case_id}:1"


def test_an_item_is_tried_again_after_its_back_off() -> None:
    it = machine(*mapped(concurrency=1))
    it.ends("check:0", "retry")
    due = it.case.steps["check"].due
    assert due is not None

    assert sent(it.at(due)) == ["check:0"]
    assert it.parts["check:0"].attempt == 2


def test_an_item_past_its_backstop_is_given_up() -> None:
    first, then = mapped(on_failure="skip")
    it = machine(first.evolve(deadline_s=10.0), then)
    effects = it.at(START + 10)

    assert sent(effects) == ["collect"]
    assert work_of(it, "collect").results == {"check": [None, None, None]}


def test_of_several_items_past_their_backstop_the_first_ends_the_step() -> None:
    first, then = mapped()
    it = machine(first.evolve(deadline_s=10.0), then)
    effects = it.at(START + 10)

    assert [effect.work.key for effect in effects if isinstance(effect, Bury)] == ["check:0"]
    assert it.case.status == "escalated"


def test_the_outputs_of_a_map_are_bounded() -> None:
    it = machine(*mapped(), data={"lines": list(range(8))})
    for index in range(8):
        it.ends(f"check:{index}", output="x" * 1_000_000)

    assert it.case.status == "escalated"
    assert "map_too_large" in (it.case.reason or "")


# --- loop


def looped(**fields: Any) -> StepSpec:
    return step("first", loop=LoopSpec(until="output.good || iteration > `5`", **fields))


def test_a_loop_goes_round_until_its_condition_holds() -> None:
    it = machine(looped())
    assert work_of(it, "first").results == {"first": None}
    assert sent(it.ends("first", output={"good": False})) == ["first"]
    assert work_of(it, "first").results == {"first": {"good": False}}
    assert it.case.steps["first"].iteration == 1
    it.ends("first", output={"good": True})

    assert it.case.status == "completed"


def test_the_outcome_of_an_earlier_round_changes_nothing() -> None:
    it = machine(looped())
    task_id = task_id_of(it.case.case_id, "first")
    it.ends("first", output={"good": False})

    assert it.ends("first", output={"good": True}, task_id=task_id) == [Ignored("stale")]


def test_a_loop_that_never_ends_fails_or_takes_what_there_is() -> None:
    fails, takes = (
        machine(looped(iterations_max=2)),
        machine(looped(iterations_max=2, exhausted="accept")),
    )
    for it in (fails, takes):
        it.ends("first", output={"good": False})
        it.ends("first", output={"good": False, "last": True})

    assert fails.case.status == "escalated"
    assert "iterations" in (fails.case.reason or "")
    assert takes.case.status == "degraded"
    assert results(takes)[0].output == {"good": False, "last": True}


# --- conditions, inputs and races


def test_a_step_whose_condition_does_not_hold_is_skipped_without_degrading() -> None:
    it = machine(
        step("first"),
        step("second", "first", when="first.urgent"),
        step("third", "first", "second"),
    )
    it.ends("first", output={"urgent": False})

    assert it.case.steps["second"].status == "skipped"
    assert work_of(it, "third").results == {"first": {"urgent": False}, "second": None}
    it.ends("third")
    assert it.case.status == "completed"


def test_a_condition_that_cannot_be_evaluated_is_told() -> None:
    it = machine(step("first"), step("second", "first", when="length(first) > `1`"))
    it.ends("first", output=7)

    assert it.case.status == "escalated"
    assert "bad_expression" in (it.case.reason or "")


def test_inputs_are_what_their_expressions_say() -> None:
    it = machine(
        step("first"), step("second", "first", inputs={"sum": "data.total", "who": "first.name"})
    )
    it.ends("first", output={"name": "ann"})

    assert work_of(it, "second").results == {"sum": 40, "who": "ann"}


def test_the_first_of_a_race_goes_on_and_the_loser_is_skipped() -> None:
    it = machine(step("first"), step("second"), step("third", "first", "second", join="any"))

    assert sent(it.ends("second", output="quick")) == ["third"]
    assert work_of(it, "third").results == {"first": None, "second": "quick"}
    assert it.case.steps["first"].status == "skipped"
    assert it.ends("first", output="slow") == [Ignored("late")]
    it.ends("third")
    assert it.case.status == "completed"


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
