"""I5, I9 and I10 of the case machine, over the same random workflows as `test_invariants`."""

from __future__ import annotations

from collections import Counter

from hypothesis import given

from coordinator.case import Tick
from coordinator.delegation import DELEGATED_MAX, DEPTH_MAX
from coordinator.effects import Bury, Ignored, Recall, SendTask
from coordinator.keys import UNDO, step_of
from coordinator.records import Writer
from coordinator.states import ENDED_WELL
from coordinator.waits import HEARD_MAX, SIGNALS_MAX
from coordinator.workflow import Plan
from events.broker import Message as Arrived
from events.dead_letters import read_letter
from events.topics import Topics
from schemas.commands import Command, Replay, Signal
from schemas.lean_case import Case, StepState
from schemas.outcome import Outcome
from schemas.task import Task, task_id_of, task_name_of
from tests.unit.flow_world import Seen, items_at_work, live, lives
from tests.unit.flows import plans, scripts
from tests.unit.machine import Machine

WRITER = Writer(Topics("cw"))


# --- I5


class Restarted(Machine):
    """A machine whose coordinator is killed after each command, and reads the changelog."""

    def do(self, command: Command | Tick) -> list[object]:
        effects = super().do(command)
        self.case = Case.from_json(self.case.to_compact_json())
        kept = {key: state.to_compact_json() for key, state in self.parts.items()}
        self.parts = {key: StepState.from_json(data) for key, data in kept.items()}
        return effects


@given(plans, scripts)
def test_i5_what_the_changelog_gives_goes_on_as_if_nothing_had_happened(
    plan: Plan, script: list[bytes]
) -> None:
    first, *history = live(plan, script).history
    twin = Restarted(plan, first.now, first.after.event.model())
    for seen in history:
        twin.now = seen.now

        assert twin.do(seen.command) == list(seen.effects)
        assert twin.case == seen.after
        assert twin.parts == seen.parts


@given(plans, scripts)
def test_i5_a_command_applied_twice_equals_once(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        if isinstance(seen.command, Signal) and not seen.command.signal_id:
            continue  # every one of them counts
        again = seen.then(plan, seen.command)

        assert again.after == seen.after
        assert len(again.of(Ignored)) == len(again.effects)
        assert again.parts == seen.parts


# --- I9


@given(plans, scripts)
def test_i9_a_dead_letter_holds_what_its_replay_needs(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        for number, bury in enumerate(seen.of(Bury)):
            replay = _replay_of(plan, seen, bury, number)
            assert replay.task_id in seen.after.dead_letters
            if seen.after.status != "undoing":
                replayed = seen.then(plan, replay)
                assert not replayed.of(Ignored)
                assert replay.command_id in replayed.after.replays


def _replay_of(plan: Plan, seen: Seen, bury: Bury, offset: int) -> Replay:
    """The command that an operator makes of a letter, from what its record says alone."""
    record = WRITER.dead_letter(seen.after, plan, bury, 0, seen.now)
    arrived = Arrived(record.topic, 0, offset, 0, record.key, record.value, record.headers)
    letter, task = read_letter(arrived), Task.from_json(record.value or b"")
    assert (letter.case_id, letter.task_id) == (task.case_id, task.task_id)
    place = f"{record.topic}:0:{offset}"
    return Replay(case_id=task.case_id, task_id=task.task_id, command_id=place)


@given(plans, scripts)
def test_i9_replaying_a_letter_twice_has_one_effect(plan: Plan, script: list[bytes]) -> None:
    world = live(plan, script)
    for life in lives(world):
        for index in range(len(world.letters)):
            once = life[-1].then(plan, world.letter(index))
            twice = once.then(plan, world.letter(index))

            assert twice.after is once.after
            assert not twice.of(SendTask)
            assert bool(once.of(Ignored)) != (once.after is not life[-1].after)
    taken = Counter(
        seen.command.command_id
        for seen in world.history
        if isinstance(seen.command, Replay) and seen.after is not seen.before
    )
    assert set(taken.values()) <= {1}


@given(plans, scripts)
def test_i9_a_case_that_is_closed_can_be_brought_back_by_each_of_its_live_letters(
    plan: Plan, script: list[bytes]
) -> None:
    for life in lives(live(plan, script)):
        last = life[-1]
        for task_id in last.after.dead_letters:
            name = task_name_of(task_id, last.after.case_id)
            assert name is not None
            whole = last.after.steps.get(name.step)
            task = last.parts.get(name.key, whole)
            if whole and task and not {whole.status, task.status} & ENDED_WELL:
                command = Replay(case_id=last.after.case_id, task_id=task_id, command_id="new")
                assert last.then(plan, command).reopens()


# --- I10


@given(plans, scripts)
def test_i10_attempts_rounds_and_items_at_work_are_bounded(plan: Plan, script: list[bytes]) -> None:
    for seen in live(plan, script).history:
        for key, state in {**seen.after.steps, **seen.parts}.items():
            step = plan.steps.get(step_of(key))
            if step is None:  # delegated
                continue
            assert state.burnt < step.attempts_max
            assert state.iteration < (step.loop.iterations_max if step.loop else 1)
            if step.map is not None and state.items is not None:
                working = len(items_at_work(seen, key))
                assert working <= step.map.concurrency
                assert working == state.items.running or state.status != "mapping"


@given(plans, scripts)
def test_i10_no_task_is_sent_more_often_than_its_attempts_allow(
    plan: Plan, script: list[bytes]
) -> None:
    world = live(plan, script)
    sends = Counter(task.task_id for task in world.tasks)
    deferred = Counter(
        seen.command.task_id
        for seen in world.history
        if isinstance(seen.command, Outcome) and seen.command.status == "deferred"
    )
    born = len(list(lives(world)))
    for task in world.tasks:
        undo, step = task.key.endswith(UNDO), plan.steps.get(step_of(task.key))
        attempts_max = step.attempts_max if step is not None else 3
        asked = 1
        if step is not None and not undo:
            asked += len(step.chain) + bool(step.escalate_to)
        assert sends[task.task_id] <= attempts_max * asked * born + deferred[task.task_id]


@given(plans, scripts)
def test_i10_each_link_of_a_chain_is_asked_once_for_a_task(plan: Plan, script: list[bytes]) -> None:
    """However often its attempts are repeated: what asks somebody anew moves on along the chain."""
    for life in lives(live(plan, script)):
        asked: dict[str, list[str | None]] = {}
        for seen in life:
            effects: list[SendTask | Recall] = [*seen.of(SendTask), *seen.of(Recall)]
            for effect in effects:
                key, state = effect.work.key, effect.work.state
                if key in seen.after.delegated or key.endswith(UNDO):
                    continue
                task_id = task_id_of(seen.after.case_id, key, state.replay, state.iteration)
                turns = asked.setdefault(task_id, [])
                if not turns or turns[-1] != state.agent:
                    turns.append(state.agent)
        for task_id, turns in asked.items():
            name = task_name_of(task_id, task_id.partition(":")[0])
            assert name is not None
            for link in plan.steps[name.step].chain:
                assert turns.count(link) <= 1


@given(plans, scripts)
def test_i10_what_a_case_holds_is_bounded(plan: Plan, script: list[bytes]) -> None:
    world = live(plan, script)
    for seen in world.history:
        case = seen.after
        assert len(case.delegated) <= DELEGATED_MAX
        assert all(each.depth <= DEPTH_MAX for each in case.delegated.values())
        assert len(case.heard) <= HEARD_MAX
        assert len(case.signals) <= SIGNALS_MAX
        assert len(case.dead_letters) == len(set(case.dead_letters))
        assert len(case.dead_letters) <= len(world.letters)
        assert case.undos.keys() <= plan.steps.keys()
        assert seen.parts.keys() <= {f"{n}:{i}" for n in plan.order for i in range(5)}
