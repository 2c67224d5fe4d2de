"""Regressions of the case machine: what properties over random workflows have found, each small."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Ignored, Publish
from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.commands import Cancel, Replay
from schemas.outcome import Delegate, Failure, Progress
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import LoopSpec, MapSpec, StepSpec, WorkflowSpec
from tests.unit.machine import Machine, event, sent, work_of

AGENTS = {name: AgentSpec(name=name) for name in ("ann", "bob", "sub", "boss", "undoer")}


def plan(*steps: StepSpec, **fields: Any) -> Plan:
    spec = WorkflowSpec(name="flow", on=("ticket.created",), steps=steps, **fields)
    return compile_workflow(spec, AGENTS)


def step(name: str, *after: str, **fields: Any) -> StepSpec:
    return StepSpec(**({"name": name, "agent": "ann", "after": after} | fields))


def case_of(*steps: StepSpec, data: Any = None, **fields: Any) -> Machine:
    business = event().model_copy(update={"data": data if data is not None else {"list": [1, 2]}})
    return Machine(plan(*steps, **fields), business=business)


def results(it: Machine) -> list[Result]:
    return [effect.result for effect in it.effects if isinstance(effect, Publish)]


def replay(it: Machine, key: str, letter: int = 0) -> list[Any]:
    state = it.state(key)
    task_id = task_id_of(it.case.case_id, key, state.replay, state.iteration)
    return it.do(Replay(case_id=it.case.case_id, task_id=task_id, command_id=f"dlq:0:{letter}"))


def progress(it: Machine, key: str) -> Progress:
    case_id = it.case.case_id
    return Progress(task_id=f"{case_id}:{key}", case_id=case_id, agent="ann", attempt=1)


def test_an_optional_loop_whose_condition_breaks_lets_the_rest_go_on() -> None:
    loop = LoopSpec(until="length(output) > `1`")
    it = case_of(step("a", loop=loop, optional=True), step("b", "a"))

    assert sent(it.ends("a", output=7)) == ["b"]
    it.ends("b")
    assert results(it)[0].status == "degraded"


def test_inputs_that_break_on_a_replay_end_the_case_again() -> None:
    it = case_of(step("a", inputs={"x": "length(`1`)"}))
    assert results(it)[0].status == "escalated"
    replay(it, "a")

    assert [result.status for result in results(it)] == ["escalated", "escalated"]


def test_an_item_whose_inputs_break_ends_its_step_and_no_other_is_sent() -> None:
    it = case_of(step("a", map=MapSpec(over="data.list"), inputs={"x": "length(`1`)"}))

    assert sent(it.effects) == []
    assert results(it)[0].status == "escalated"


def undone(first: StepSpec, keys: tuple[str, ...] = ("a",)) -> Machine:
    """A case whose first step was undone because the second one failed, and that is replayed."""
    it = case_of(first, step("b", "a", on_dead_letter="fail"))
    for key in keys:
        it.ends(key)
    it.ends("b", "failed")
    it.ends("a~undo")
    assert results(it)[0].status == "failed"
    replay(it, "b")
    return it


def test_what_was_done_before_it_was_undone_does_not_count_again() -> None:
    it = undone(step("a", undo="undoer"))
    task_id = task_id_of(it.case.case_id, "a")

    assert it.ends("a", task_id=task_id, attempt=1) == [Ignored("stale")]
    assert sent(it.ends("a")) == ["b"]


def test_a_map_that_was_undone_is_done_anew_from_its_first_item() -> None:
    items = MapSpec(over="data.list", concurrency=1)
    it = undone(step("a", map=items, undo="undoer"), ("a:0", "a:1"))

    assert it.ends("a:1", task_id=f"{it.case.case_id}:a:1", attempt=1) == [Ignored("late")]
    assert sent(it.ends("a:0")) == ["a:1"]
    assert sent(it.ends("a:1")) == ["b"]


def parked_map(**fields: Any) -> Machine:
    """Three items, of which the first two are dead."""
    items = MapSpec(over="data.list", **fields)
    it = case_of(step("a", map=items, on_dead_letter="park"), data={"list": [1, 2, 3]})
    it.ends("a:0", "failed")
    it.ends("a:1", "failed")
    return it


def test_two_letters_of_a_map_are_replayed_one_after_the_other() -> None:
    it = parked_map(concurrency=2)
    assert sent(replay(it, "a:0")) == ["a:0", "a:1"]
    assert replay(it, "a:1", letter=1) == [Ignored("nothing_to_replay")]
    it.ends("a:0")
    it.ends("a:1")
    it.ends("a:2")

    assert results(it)[0].status == "completed"


def test_a_replay_leaves_the_items_that_are_at_work_alone() -> None:
    it = parked_map(concurrency=3)

    assert sent(replay(it, "a:0")) == ["a:0", "a:1"]
    assert it.state("a:2").attempt == 1
    assert sent(it.ends("a:2")) == []


def test_a_replay_brings_back_every_step_that_failed() -> None:
    parked = step("a", on_dead_letter="park")
    it = case_of(parked, step("b", on_dead_letter="fail"), step("c", "a", "b"))
    it.ends("a", "failed")
    it.ends("b", "failed")

    assert sent(replay(it, "a")) == ["a", "b"]
    it.ends("a")
    assert sent(it.ends("b")) == ["c"]


def test_a_replay_does_not_wait_for_those_who_race_on() -> None:
    race = step("c", "a", "b", join="any", on_dead_letter="park")
    it = case_of(step("a"), step("b"), race, step("d", "b", "c"))
    it.ends("a")
    it.ends("c", "failed")

    assert sent(replay(it, "c")) == ["c"]


def test_a_parked_step_that_loses_its_race_does_not_keep_the_case_parked() -> None:
    parked = step("a", on_dead_letter="park")
    it = case_of(parked, step("b"), step("c", "a", "b", join="any", optional=True))
    it.ends("a", "failed")
    assert it.case.status == "parked"
    it.ends("b")
    assert (it.case.status, it.case.reason) == ("open", None)
    it.ends("c", "failed")

    assert results(it)[0].status == "degraded"


def test_what_a_loser_delegated_is_forgotten() -> None:
    it = case_of(step("a"), step("b"), step("c", "a", "b", join="any"))
    it.ends("a", "delegate", delegates=(Delegate(name="x", agent="bob"),))
    it.ends("b")
    assert "a.x" not in it.case.steps
    it.ends("c")

    assert results(it)[0].status == "completed"


def test_a_case_is_parked_until_the_last_of_its_dead_tasks_is_replayed() -> None:
    it = case_of(step("a", on_dead_letter="park"), step("b", on_dead_letter="park"))
    it.ends("a", "failed")
    it.ends("b", "failed")
    replay(it, "a")
    assert (it.case.status, it.case.reason) == ("parked", "b: boom: it broke")
    replay(it, "b", letter=1)

    assert (it.case.status, it.case.reason) == ("open", None)


def test_a_parked_step_that_goes_on_with_a_higher_agent_is_not_parked() -> None:
    unsure = step("a", on_dead_letter="park", escalate_below=0.5, escalate_to="boss")
    it = case_of(unsure)
    it.ends("a", "failed")
    it.ends("a", confidence=0.1)

    assert it.case.steps["a"].agent == "boss"
    assert it.case.status == "open"


def test_an_output_that_nobody_was_sure_of_is_judged_once() -> None:
    it = case_of(step("a", escalate_below=0.5, escalate_to="boss"))
    it.ends("a", confidence=0.1)

    assert it.ends("a", confidence=0.1, attempt=1, agent="ann") == [Ignored("stale")]
    assert it.ends("a", confidence=0.9, attempt=1, agent="ann") != [Ignored("stale")]


def test_the_last_round_of_a_loop_is_judged_once() -> None:
    loop = LoopSpec(until="output.ok", iterations_max=1)
    it = case_of(step("a", loop=loop, on_dead_letter="park"))
    it.ends("a")

    assert it.ends("a") == [Ignored("stale")]
    assert len(it.case.dead_letters) == 1
    it.ends("a", output={"ok": True})
    assert results(it)[0].status == "completed"


def test_undoing_a_step_a_second_time_is_another_task() -> None:
    it = undone(step("a", undo="undoer"))
    it.ends("a")
    it.ends("b", "failed")
    first = f"{it.case.case_id}:a~undo"

    assert it.ends("a~undo", task_id=first) == [Ignored("stale")]
    it.ends("a~undo", task_id=f"{first}#1")
    assert results(it)[1].undone["a"].status == "done"


def test_a_step_is_undone_before_what_it_read_although_the_clock_jumped_back() -> None:
    it = case_of(step("a", undo="undoer"), step("b", "a", undo="undoer"), step("c", "b"))
    it.ends("a")
    it.now -= 3_600
    it.ends("b")

    assert sent(it.do(Cancel(case_id=it.case.case_id))) == ["b~undo"]


def test_what_was_done_last_is_undone_next() -> None:
    first, second = step("a", undo="undoer"), step("b", "a", undo="undoer")
    it = case_of(first, second, step("c", "b", undo="undoer"))
    it.ends("a")
    it.ends("b")
    it.do(Cancel(case_id=it.case.case_id))
    it.ends("c")

    assert sent(it.ends("b~undo")) == ["c~undo"]
    assert sent(it.ends("c~undo")) == ["a~undo"]


def test_progress_of_an_item_changes_nothing_after_the_end() -> None:
    it = case_of(step("a", map=MapSpec(over="data.list"), deadline_s=60))
    it.ends("a:0", "failed")

    assert it.do(progress(it, "a:1")) == [Ignored("stale")]


def test_what_another_attempt_delegated_under_the_same_name_is_another_task() -> None:
    x = (Delegate(name="x", agent="bob"),)
    it = case_of(step("a", fallback="sub"))
    it.ends("a", "delegate", delegates=x)
    it.ends("a.x", "failed")
    it.ends("a", "delegate", delegates=x)

    assert it.ends("a.x", task_id=f"{it.case.case_id}:a.x", attempt=1) == [Ignored("stale")]
    it.ends("a.x")
    assert results(it)[0].status == "completed"


def test_what_is_not_done_yet_is_not_read() -> None:
    again = LoopSpec(until="output.ok")
    it = case_of(step("a", loop=again), step("b"), step("c", "a", "b", join="any"), step("d", "a"))
    it.ends("a", output={"ok": False})
    it.ends("b")

    assert work_of(it, "c").results == {"a": None, "b": {"by": "b"}}


def test_a_list_that_got_shorter_ends_its_map() -> None:
    items = MapSpec(over="b || a", concurrency=2)
    raced = step("c", "a", "b", join="any", map=items)
    it = case_of(step("a"), step("b"), raced, step("d", "b"))
    it.ends("a", output=[1, 2])
    it.ends("b", output=[1])
    it.ends("c:1", "retry")
    it.at(it.now + 60)

    assert results(it)[0].reason == ("c: bad_expression: the list has 1 items now, and none at 1")


def test_progress_that_arms_nothing_changes_nothing() -> None:
    it = case_of(step("a", map=MapSpec(over="data.list")))
    before = it.case

    assert it.do(progress(it, "a:1")) == []
    assert it.case is before


def test_a_letter_brings_back_what_was_at_work_again_when_its_case_ended() -> None:
    it = parked_map(concurrency=2)
    replay(it, "a:0")
    it.do(Cancel(case_id=it.case.case_id))
    dead = Replay(case_id=it.case.case_id, task_id=f"{it.case.case_id}:a:1", command_id="dlq:0:1")

    assert sent(it.do(dead)) == ["a:0", "a:1"]


def test_a_task_that_died_twice_is_remembered_once() -> None:
    it = case_of(step("a", on_dead_letter="park"), step("b", on_dead_letter="fail"))
    it.ends("a", "failed")
    it.ends("b", "failed")
    replay(it, "b")
    it.ends("a", "failed")

    assert len(it.case.dead_letters) == 1


def test_what_may_have_happened_is_not_done_by_anybody_else() -> None:
    it = case_of(step("a", fallback="sub", optional=True, on_dead_letter="park"))
    unknown = Failure(kind="effect_unknown", message="paid or not?")
    effects = it.ends("a", "failed", error=unknown)

    assert sent(effects) == []
    assert it.case.status == "parked"
    assert it.case.dead_letters == (f"{it.case.case_id}:a",)
