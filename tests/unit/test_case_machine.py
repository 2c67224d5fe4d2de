"""The case machine, transition by transition."""

from __future__ import annotations

import pytest

from coordinator.case import Tick, apply, next_due
from coordinator.effects import Bury, Ignored, Publish, SendTask
from coordinator.workflow import Plan, compile_workflow
from schemas.commands import Cancel, Replay
from schemas.outcome import Failure, Progress
from schemas.result import Result
from schemas.task import task_id_of
from tests.unit.machine import AGENTS, START, Machine, diamond, event, opened


def sent(effects: list[object]) -> list[str]:
    return [effect.work.key for effect in effects if isinstance(effect, SendTask)]


def results(machine: Machine) -> list[Result]:
    return [effect.result for effect in machine.effects if isinstance(effect, Publish)]


def through(machine: Machine) -> Machine:
    for step in ("triage", "billing", "kb", "reply"):
        machine.says(step)
    return machine


def test_steps_are_sent_when_what_they_read_is_there() -> None:
    machine = Machine()

    assert sent(machine.effects) == ["triage"]
    assert sent(machine.says("triage")) == ["billing", "kb"]
    assert sent(machine.says("kb")) == []
    assert sent(machine.says("billing")) == ["reply"]


def test_the_last_step_closes_the_case_with_its_output() -> None:
    machine = through(Machine())

    (result,) = results(machine)
    assert result.status == "completed"
    assert result.output == {"by": "reply"}
    assert machine.case.status == "completed"


def test_a_second_done_changes_nothing() -> None:
    machine = Machine()
    machine.says("triage")
    before = machine.case

    assert machine.says("triage") == [Ignored("late")]
    assert machine.case is before


def test_a_duplicate_event_is_counted_and_changes_nothing() -> None:
    machine = Machine()
    before = machine.case

    assert machine.do(opened(machine.plan)) == [Ignored("duplicate_event")]
    assert machine.case is before


def test_retries_wait_for_a_durable_timer_with_a_new_attempt() -> None:
    machine = Machine()
    machine.says("triage", "retry")
    state = machine.case.steps["triage"]

    assert state.status == "retrying"
    assert state.due is not None
    assert START <= state.due <= START + 1.0
    assert next_due(machine.case, 0) == state.due
    assert sent(machine.at(state.due)) == ["triage"]
    assert machine.case.steps["triage"].attempt == 2


def test_retry_after_is_honoured() -> None:
    machine = Machine()
    machine.says("triage", "retry", error=Failure(kind="busy", retry_after_s=30))

    assert machine.case.steps["triage"].due == START + 30


def test_attempts_are_bounded_and_then_the_case_is_escalated_with_a_dead_letter() -> None:
    machine = Machine()
    for _ in range(2):
        machine.says("triage", "retry")
        machine.at(machine.now + 60)
    effects = machine.says("triage", "retry")

    assert [type(effect) for effect in effects] == [Bury, Publish]
    assert results(machine)[0].status == "escalated"
    assert machine.case.dead_letters == (task_id_of(machine.case.case_id, "triage"),)


def test_a_deferral_burns_no_attempt() -> None:
    machine = Machine()
    for _ in range(10):
        machine.says("triage", "deferred", error=Failure(kind="open", retry_after_s=5))
        machine.at(machine.now + 5)

    assert machine.case.steps["triage"].burnt == 0
    assert machine.case.steps["triage"].attempt == 11
    assert machine.case.status == "open"


def test_a_stale_failure_of_an_older_attempt_is_ignored() -> None:
    machine = Machine()
    machine.says("triage", "retry")
    machine.at(machine.now + 60)

    assert machine.says("triage", "failed", attempt=1) == [Ignored("stale")]


def test_a_late_done_of_an_older_attempt_completes_the_step() -> None:
    machine = Machine()
    machine.says("triage", "retry")

    assert sent(machine.says("triage", "done", attempt=1)) == ["billing", "kb"]


def test_a_failed_optional_step_is_skipped_and_the_case_degraded() -> None:
    machine = Machine()
    machine.says("triage")
    machine.says("kb")
    assert sent(machine.says("billing", "failed")) == ["reply"]
    machine.says("reply")

    (result,) = results(machine)
    assert result.status == "degraded"
    assert result.reason == "billing: skipped (boom)"
    assert machine.case.steps["billing"].output is None


def test_a_failed_step_asks_its_fallback_agent_under_the_same_task() -> None:
    machine = Machine()
    machine.says("triage")
    assert sent(machine.says("kb", "failed")) == ["kb"]
    assert machine.case.steps["kb"].agent == "spare"
    machine.says("billing")
    machine.says("kb")
    machine.says("reply")

    assert results(machine)[0].status == "degraded"


@pytest.mark.parametrize(("policy", "status"), [("fail", "failed"), ("escalate", "escalated")])
def test_a_dead_letter_ends_the_case_as_its_step_says(policy: str, status: str) -> None:
    machine = Machine(diamond(on_dead_letter=policy))
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.says("reply", "failed")

    assert results(machine)[0].status == status
    assert results(machine)[0].output is None


def test_a_parked_case_waits_for_its_replay_until_its_deadline() -> None:
    machine = Machine(diamond(on_dead_letter="park"))
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.says("reply", "failed")

    assert machine.case.status == "parked"
    assert results(machine) == []
    machine.at(START + 3600)
    assert results(machine)[0].status == "expired"


def test_a_late_done_of_a_parked_step_ends_the_case_well() -> None:
    machine = Machine(diamond(on_dead_letter="park"))
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.says("reply", "failed")
    machine.says("reply", "done")

    assert [result.status for result in results(machine)] == ["completed"]


def test_low_confidence_escalates_and_keeps_the_suggestion() -> None:
    machine = Machine(diamond(escalate_below=0.8))
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.says("reply", confidence=0.5)

    (result,) = results(machine)
    assert result.status == "escalated"
    assert result.output == {"by": "reply"}
    assert result.reason == "reply: confidence 0.50 is below 0.80"


def test_a_step_deadline_gives_the_step_up() -> None:
    machine = Machine(_slow_reply())
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    assert next_due(machine.case, 0) == START + 60
    machine.at(START + 60)

    (result,) = results(machine)
    assert result.status == "escalated"
    assert "deadline" in (result.reason or "")


def _slow_reply() -> Plan:
    """The diamond whose last step has a backstop of a minute."""
    spec = diamond().spec
    *others, reply = spec.steps
    slow = reply.model_copy(update={"deadline_s": 60.0})
    return compile_workflow(spec.model_copy(update={"steps": (*others, slow)}), AGENTS)


def test_progress_arms_the_backstop_again() -> None:
    machine = Machine(_slow_reply())
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.now = START + 50
    case_id = machine.case.case_id
    machine.do(
        Progress(task_id=task_id_of(case_id, "reply"), case_id=case_id, agent="reply", attempt=1)
    )
    machine.at(START + 60)

    assert machine.case.status == "open"
    assert next_due(machine.case, 0) == START + 110


def test_the_case_deadline_ends_it_as_expired_and_abandons_what_runs() -> None:
    machine = Machine()
    machine.at(START + 3600)

    (result,) = results(machine)
    assert result.status == "expired"
    assert machine.case.steps["triage"].status == "abandoned"
    assert machine.says("triage") == [Ignored("late")]


def test_an_event_whose_deadline_has_passed_expires_at_once() -> None:
    plan = diamond()
    late = opened(plan, event(deadline="2001-01-01T00:00:00Z"))
    case, effects = apply(None, late, 2e9, plan)

    assert case is not None
    assert case.status == "expired"
    assert [type(effect) for effect in effects] == [Publish]


def test_cancel_ends_the_case_once() -> None:
    machine = Machine()
    cancel = Cancel(case_id=machine.case.case_id, reason="customer left")
    machine.do(cancel)

    assert results(machine)[0].status == "cancelled"
    assert machine.do(cancel) == [Ignored("closed_case")]
    assert len(results(machine)) == 1


def test_an_agent_can_escalate() -> None:
    machine = Machine()
    machine.says("triage", "escalate", error=Failure(kind="human", message="angry"))

    assert results(machine)[0].status == "escalated"
    assert results(machine)[0].reason == "triage: angry"


def test_a_task_that_its_worker_could_not_read_is_not_buried_twice() -> None:
    machine = Machine()
    effects = machine.says("triage", "failed", error=Failure(kind="undecodable"))

    assert [type(effect) for effect in effects] == [Publish]
    assert machine.case.dead_letters == (task_id_of(machine.case.case_id, "triage"),)


def _dead(machine: Machine) -> Replay:
    for step in ("triage", "billing", "kb"):
        machine.says(step)
    machine.says("reply", "failed")
    case_id = machine.case.case_id
    return Replay(
        case_id=case_id, task_id=task_id_of(case_id, "reply"), command_id="cw.tasks.reply.dlq:0:7"
    )


def test_a_replay_reopens_the_case_and_amends_its_result() -> None:
    machine = Machine()
    replay = _dead(machine)
    assert sent(machine.do(replay)) == ["reply"]
    machine.says("reply")

    first, second = results(machine)
    assert first.status == "escalated"
    assert second.status == "completed"
    assert second.amends == f"{machine.case.case_id}:1"
    assert machine.case.steps["kb"].attempt == 1


def test_replaying_a_letter_twice_has_one_effect() -> None:
    machine = Machine()
    replay = _dead(machine)
    machine.do(replay)

    assert machine.do(replay) == [Ignored("replayed_already")]
    machine.says("reply")
    assert machine.do(replay) == [Ignored("replayed_already")]


def test_a_tick_with_nothing_due_gives_back_the_same_case() -> None:
    machine = Machine()
    before = machine.case

    assert apply(before, Tick(), START, machine.plan) == (before, [])
    assert apply(before, Tick(), START, machine.plan)[0] is before
