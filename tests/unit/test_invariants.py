"""I1, I3, I4 of the case machine: random workflows, and whatever may happen to their cases.

I5, I9 and I10 lie in `test_invariants_more`; where the others are held says `tests/README.md`.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf

from hypothesis import given

from coordinator.case import Tick, next_due
from coordinator.effects import Publish, SendTask
from coordinator.keys import UNDO, key_of
from coordinator.states import ENDED, PASSIVE
from coordinator.undo import UNDOES
from coordinator.workflow import Plan
from schemas.lean_case import CLOSED, Case, StepState
from schemas.outcome import Outcome
from schemas.task import task_id_of, task_name_of
from tests.unit.flow_world import WORKS, Seen, items_at_work, live, lives, results
from tests.unit.flows import plans, scripts

ENDINGS = {"fail": "failed", "expire": "expired", "cancel": "cancelled"}
UNDONE = frozenset(ENDINGS[event] for event in UNDOES)


def states(seen: Seen) -> dict[str, StepState]:
    """All that the case holds, by key."""
    undos = {f"{name}{UNDO}": state for name, state in seen.after.undos.items()}
    return {**seen.after.steps, **seen.parts, **undos}


# --- I1


@given(plans, scripts)
def test_i1_a_case_ends_in_one_result_and_each_later_life_amends_the_one_before(
    plan: Plan, script: list[bytes]
) -> None:
    world = live(plan, script)
    published = results(world)
    ids = [f"{world.case.case_id}:{number}" for number in range(1, len(published) + 1)]

    assert world.case.status in CLOSED
    assert len(published) == len(list(lives(world)))
    assert [f"{p.result.case_id}:{p.number}" for p in published] == ids
    assert [p.result.amends for p in published] == [None, *ids[:-1]]
    assert [p.result.status for p in published][-1:] == [world.case.status]


@given(plans, scripts)
def test_i1_an_open_case_says_what_it_waits_for(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        case = seen.after
        if case.closed is None:
            assert _waits_for(plan, seen), (case.status, case.reason)


def _idle(case: Case) -> bool:
    """Whether it has not begun: for its hours, or for the case that it follows."""
    following = case.following
    return case.held is not None or (following is not None and following.role != "leads")


def _waits_for(plan: Plan, seen: Seen) -> bool:
    """Whether somebody is at work or was asked, or else the case says why not."""
    case = seen.after
    steps = case.steps.values()
    working = any(s.status in WORKS for s in steps) or any(
        items_at_work(seen, name) for name in plan.order
    )
    match case.status:
        case "undoing":
            return any(s.status in WORKS for s in case.undos.values())
        case "parked":
            return bool(case.reason) and any(s.status == "parked" for s in steps)
        case "waiting":
            passive = any(s.status in PASSIVE for s in steps) or _idle(case)
            return bool(case.reason) and passive and not working
        case _:
            return working and not any(s.status == "parked" for s in steps)


# --- I3


@given(plans, scripts)
def test_i3_a_task_completes_once_and_nothing_changes_it_afterwards(
    plan: Plan, script: list[bytes]
) -> None:
    completed = set()
    reopened = False
    before: dict[str, StepState] = {}
    for seen in live(plan, script).history:
        after = states(seen)
        reopened = reopened or seen.reopens()
        for key, state in after.items():
            was = before.get(key)
            if state.status == "done" and (was is None or was.status != "done"):
                task = task_id_of(seen.after.case_id, key, state.replay, state.iteration)
                assert task not in completed
                completed.add(task)
                if isinstance(seen.command, Outcome) and _is_about(seen.command, key):
                    assert seen.command.task_id == task
            if was is not None and was.status == "done" and state != was:
                assert state.replay > was.replay
                assert seen.reopens() or (reopened and ":" in key)  # an item in its turn
        before = after


def _is_about(outcome: Outcome, key: str) -> bool:
    name = task_name_of(outcome.task_id, outcome.case_id)
    return name is not None and key_of(name) == key


@given(plans, scripts)
def test_i3_what_has_ended_stays_as_it_is_until_the_case_opens_again(
    plan: Plan, script: list[bytes]
) -> None:
    for life in lives(live(plan, script)):
        for earlier, later in pairwise(life):
            for name in plan.order:
                was, now = earlier.after.steps[name], later.after.steps[name]
                late = (was.status, now.status, later.after.status)
                if was.status in ENDED and late != ("abandoned", "done", "undoing"):
                    assert now == was
            if earlier.after.closed is not None:
                assert _but_for_letters(later.after) == _but_for_letters(earlier.after)


def _but_for_letters(case: Case) -> Case:
    """A letter of a closed case may be dropped."""
    return case.evolve(dead_letters=())


@given(plans, scripts)
def test_i3_no_task_goes_forward_once_undoing_has_begun_or_the_case_has_ended(
    plan: Plan, script: list[bytes]
) -> None:
    for seen in live(plan, script).history:
        case = seen.before
        over = case is not None and (case.closed is not None or case.status == "undoing")
        over = over and not seen.reopens()
        for effect in seen.effects:
            if isinstance(effect, SendTask):
                undoes = effect.work.key.endswith(UNDO)
                assert undoes or not over
                over = over or undoes
            over = over or isinstance(effect, Publish)


@given(plans, scripts)
def test_i3_what_is_done_is_undone_once_and_before_what_it_had_read(
    plan: Plan, script: list[bytes]
) -> None:
    read = _ancestors(plan)
    for life in lives(live(plan, script)):
        begun: list[str] = []
        for seen in life:
            for effect in seen.of(SendTask):
                name = effect.work.key.removesuffix(UNDO)
                if effect.work.key.endswith(UNDO) and effect.work.state.attempt == 1:
                    assert name not in begun
                    assert name in _to_undo(plan, seen.after)
                    begun.append(name)
                    for other in _to_undo(plan, seen.after) - set(begun):
                        assert name not in read[other]
        last = life[-1].after
        if last.status in UNDONE:
            assert _to_undo(plan, last) == set(last.undos)
            assert all(state.status in ("done", "failed") for state in last.undos.values())
        else:
            assert not begun


def _to_undo(plan: Plan, case: Case) -> set[str]:
    """The steps with an undo that are done, or some items of which are."""
    undos = (name for name, step in plan.steps.items() if step.undo)
    return {name for name in undos if _did(case.steps[name])}


def _did(state: StepState) -> bool:
    return state.status == "done" or (state.items is not None and state.items.done > 0)


def _ancestors(plan: Plan) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for name in plan.order:
        after = plan.steps[name].after
        found[name] = frozenset(after).union(*(found[source] for source in after))
    return found


@given(plans, scripts)
def test_i3_steps_are_undone_in_the_reverse_order_of_their_ends(
    plan: Plan, script: list[bytes]
) -> None:
    for life in lives(live(plan, script)):
        if any(earlier.now > later.now for earlier, later in pairwise(life)):
            continue  # the clock jumped back: nobody knows
        for seen in life:
            for effect in seen.of(SendTask):
                name, state = effect.work.key.removesuffix(UNDO), effect.work.state
                if effect.work.key.endswith(UNDO) and state.attempt == 1:
                    left = [n for n, s in seen.after.undos.items() if s.status == "waiting"]
                    ended = seen.after.steps[name].ended or 0.0
                    assert all(ended >= (seen.after.steps[n].ended or 0.0) for n in left)


@given(plans, scripts)
def test_i3_a_case_that_is_held_or_follows_sends_nothing(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        if _idle(seen.after):
            assert not seen.of(SendTask)
            assert {state.status for state in seen.after.steps.values()} <= {"waiting", "abandoned"}


# --- I4


@given(plans, scripts)
def test_i4_every_open_case_has_a_time_limit(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        if seen.after.closed is None:
            assert next_due(seen.after, 0) <= seen.after.deadline < inf


@given(plans, scripts)
def test_i4_a_timer_that_fires_leaves_nothing_due(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        if seen.after.closed is None:
            wait_s = max(0.0, next_due(seen.after, 0) - seen.now)
            fired = seen.then(plan, Tick(), wait_s)
            assert fired.after.closed is not None or next_due(fired.after, 0) > fired.now


@given(plans, scripts)
def test_i4_joins_end(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        if seen.closes():
            assert {state.status for state in seen.after.steps.values()} <= ENDED
            assert {state.status for state in seen.after.undos.values()} <= ENDED
