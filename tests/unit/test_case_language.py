"""The workflow language, one case at a time: maps, loops, conditions and races."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Bury, Ignored
from schemas.commands import Replay
from schemas.task import task_id_of
from schemas.workflow import LoopSpec, StepSpec
from tests.unit.language import machine, mapped, results, step
from tests.unit.machine import START, sent, work_of

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


def test_a_map_over_null_is_refused_with_the_place() -> None:
    it = machine(*mapped(), data={"lines": ["a", None]})

    assert it.case.reason == (
        "check: null_item: item 1 is null: leave such items out, as in `list[?@ != null]`"
    )


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
