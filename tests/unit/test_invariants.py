"""Invariants of the case machine under any order of commands.

I2 and I7 of the whole system are held in `tests/sim`, I8 by `test_ledger`, I6 by the tests of
the budget.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.case import Tick, next_due
from coordinator.effects import Publish, SendTask
from schemas.case import CLOSED, Case
from schemas.commands import Cancel, Replay
from schemas.outcome import Failure
from schemas.task import task_id_of
from tests.unit.machine import Machine, diamond, opened, outcome

STEPS = ("triage", "billing", "kb", "reply")
STATUSES = ("done", "done", "done", "failed", "retry", "halted", "deferred", "delegate", "escalate")
ATTEMPTS_MAX = 3

ending = st.tuples(
    st.just("outcome"), st.sampled_from(STEPS), st.sampled_from(STATUSES), st.integers(-1, 1)
)
tick = st.tuples(st.just("tick"), st.floats(0, 120))
cancel = st.tuples(st.just("cancel"))
replay = st.tuples(st.just("replay"), st.sampled_from(STEPS), st.integers(0, 2))
again = st.tuples(st.just("opened"))
scripts = st.lists(st.one_of(ending, ending, ending, tick, cancel, replay, again), max_size=40)
policies = st.sampled_from(("escalate", "park", "fail"))


def command_of(machine: Machine, said: tuple[Any, ...]) -> Any:
    case_id = machine.case.case_id
    match said:
        case ("outcome", step, status, shift):
            state = machine.case.steps[step]
            wait = Failure(kind="busy", retry_after_s=1) if status == "deferred" else None
            extra = {"error": wait} if wait else {}
            return outcome(machine.case, step, status, attempt=state.attempt + shift, **extra)
        case ("tick", seconds):
            machine.now += seconds
            return Tick()
        case ("cancel",):
            return Cancel(case_id=case_id)
        case ("replay", step, letter):
            state = machine.case.steps[step]
            task_id = task_id_of(case_id, step, state.replay)
            return Replay(case_id=case_id, task_id=task_id, command_id=f"dlq:0:{letter}")
        case _:
            return opened(machine.plan)


def run(script: list[tuple[Any, ...]], policy: str) -> Machine:
    machine = Machine(diamond(on_dead_letter=policy))
    for said in script:
        machine.do(command_of(machine, said))
    return machine


def results(machine: Machine) -> list[Publish]:
    return [effect for effect in machine.effects if isinstance(effect, Publish)]


@given(scripts, policies)
def test_i1_a_case_ends_in_one_result_and_one_more_per_reopening(
    script: list[tuple[Any, ...]], policy: str
) -> None:
    machine = Machine(diamond(on_dead_letter=policy))
    reopened = 0
    for said in script:
        before = machine.case
        machine.do(command_of(machine, said))
        reopened += before.status in CLOSED and machine.case is not before
    machine.at(machine.now + machine.plan.spec.deadline_s)

    assert machine.case.status in CLOSED
    assert len(results(machine)) == 1 + reopened
    assert [effect.number for effect in results(machine)] == list(range(1, 2 + reopened))


@given(scripts, policies)
def test_i3_a_step_completes_once(script: list[tuple[Any, ...]], policy: str) -> None:
    machine = Machine(diamond(on_dead_letter=policy))
    for said in script:
        before = machine.case
        machine.do(command_of(machine, said))
        for name, state in before.steps.items():
            if state.status == "done":
                assert machine.case.steps[name] == state


@given(scripts, policies)
def test_i4_joins_end(script: list[tuple[Any, ...]], policy: str) -> None:
    machine = run(script, policy)
    for state in machine.case.steps.values():
        if state.status == "retrying":
            assert state.due is not None
    assert machine.case.status in CLOSED or next_due(machine.case, 0) <= machine.case.deadline

    machine.at(machine.case.deadline)
    assert machine.case.status in CLOSED
    assert not any(s.status in ("sent", "retrying") for s in machine.case.steps.values())


@given(scripts, policies)
def test_i5_a_command_applied_twice_equals_once_and_the_changelog_gives_the_same_state(
    script: list[tuple[Any, ...]], policy: str
) -> None:
    machine = Machine(diamond(on_dead_letter=policy))
    for said in script:
        command = command_of(machine, said)
        machine.do(command)
        once = machine.case
        effects = machine.do(command)

        assert machine.case == once
        assert not [effect for effect in effects if isinstance(effect, SendTask | Publish)]
        assert Case.from_json(once.to_compact_json()) == once


@given(scripts, policies, st.sampled_from(STEPS))
def test_i9_replaying_a_letter_twice_has_one_effect(
    script: list[tuple[Any, ...]], policy: str, step: str
) -> None:
    machine = run(script, policy)
    command = command_of(machine, ("replay", step, 99))
    machine.do(command)
    after = machine.case
    effects = machine.do(command)

    assert machine.case is after
    assert not [effect for effect in effects if isinstance(effect, SendTask | Publish)]


@given(scripts, policies)
def test_i10_sends_are_bounded(script: list[tuple[Any, ...]], policy: str) -> None:
    machine = run(script, policy)
    deferrals = sum(1 for said in script if said[0] == "outcome" and said[2] == "deferred")
    replays = sum(1 for said in script if said[0] == "replay")
    for step in STEPS:
        sends = sum(1 for e in machine.effects if isinstance(e, SendTask) and e.work.key == step)
        agents = 2 if machine.plan.steps[step].fallback else 1
        assert sends <= (ATTEMPTS_MAX * agents + deferrals) * (1 + replays) + replays
    assert machine.case.steps["triage"].burnt < ATTEMPTS_MAX
