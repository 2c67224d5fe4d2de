"""The orchestrator as a pure processor: turns, restore, forwarding, size, dedupe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from coordinator.case_turn import CaseTurn
from coordinator.orchestrator import Orchestrator
from coordinator.partition import PartitionState
from coordinator.store import DictStore
from coordinator.workflow import compile_workflow
from coordinator.world import OrchestratorLimits
from events.broker import Message, Record, TopicPartition
from events.partitioner import partition_of
from events.topics import Topics
from schemas.base import Message as Model
from schemas.commands import Cancel, Replay
from schemas.lean_case import Case
from schemas.result import Result
from schemas.task import Task, task_id_of
from schemas.workflow import StepSpec
from tests.unit.machine import AGENTS, START, diamond, event, opened, outcome

TOPICS = Topics("cw")
PARTITIONS = 4


def values_of(state: PartitionState) -> dict[str, bytes]:
    """The cases and entities that a state in memory holds, by key."""
    assert isinstance(state.store, DictStore)
    return {key: value for key, value in state.store.values.items() if key[0] != "\0"}


class Desk:
    """An orchestrator fed by hand; keeps what it would have written."""

    def __init__(self, **limits: Any) -> None:
        self.plan = diamond(deadline_s=600)
        self.limits = OrchestratorLimits(**limits)
        self.it = self.new()
        self.inbox: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)
        self.log: dict[int, list[Message]] = {p: [] for p in range(PARTITIONS)}
        self.records: list[Record] = []
        self.now = START
        for partition in range(PARTITIONS):
            self.it.adopt(TopicPartition("cw.inbox", partition), 0, START)

    def new(self) -> Orchestrator:
        return Orchestrator(
            TOPICS, [self.plan], partitions=PARTITIONS, writer_id="w", limits=self.limits
        )

    def message(self, model: Model, partition: int | None = None, **headers: bytes) -> Message:
        case_id: str = getattr(model, "case_id", "")
        home = partition_of(case_id.encode(), PARTITIONS) if partition is None else partition
        offset = self.inbox[home]
        self.inbox[home] += 1
        ce_type: str = getattr(model, "ce_type", "")
        pairs = (("ce_type", ce_type.encode()), *headers.items())
        value = model.to_json()
        return Message("cw.inbox", home, offset, 0, case_id.encode(), value, tuple(pairs))

    def turn(self, *messages: Message, promote: bool = True) -> CaseTurn | None:
        ready = {TopicPartition("cw.inbox", p): self.inbox[p] for p in range(PARTITIONS)}
        turn = self.it.plan(messages, ready, self.now)
        if turn is not None and promote:
            self.it.promote(turn)
            self.keep(turn)
        return turn

    def keep(self, turn: CaseTurn) -> None:
        self.records += [*turn.records, *turn.marks]
        self._append([*turn.records, *turn.marks])

    def tell(self, *models: Model) -> CaseTurn | None:
        return self.turn(*(self.message(model) for model in models))

    def case(self, case_id: str) -> Case | None:
        return self.it.states[partition_of(case_id.encode(), PARTITIONS)].load(case_id)

    def to(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == topic]

    def _append(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.topic == "cw.cases":
                assert record.partition is not None
                log = self.log[record.partition]
                where = ("cw.cases", record.partition, len(log))
                log.append(Message(*where, 0, record.key, record.value, record.headers))

    def restarted(self) -> Orchestrator:
        fresh = self.new()
        for partition, log in self.log.items():
            source = TopicPartition("cw.inbox", partition)
            fresh.adopt(source, len(log), self.now)
            fresh.restore(source, log, len(log))
        return fresh


def run_through(desk: Desk, event_id: str = "e1") -> str:
    command = opened(desk.plan, event(event_id))
    desk.tell(command)
    for step in ("triage", "billing", "kb", "reply"):
        case = desk.case(command.case_id)
        assert case is not None
        desk.tell(outcome(case, step))
    return command.case_id


def test_one_event_becomes_four_tasks_and_one_result() -> None:
    desk = Desk()
    run_through(desk)

    sent = [r.topic for r in desk.records if r.topic.startswith("cw.tasks")]
    assert sent == ["cw.tasks.triage", "cw.tasks.billing", "cw.tasks.kb", "cw.tasks.reply"]
    (record,) = desk.to("cw.results.ticket")
    assert Result.from_json(record.value or b"").status == "completed"


def test_a_task_says_where_its_outcome_goes_and_what_it_reads() -> None:
    desk = Desk()
    case_id = run_through(desk)

    task = Task.from_json(desk.to("cw.tasks.reply")[0].value or b"")
    assert task.reply_to.partition == partition_of(case_id.encode(), PARTITIONS)
    assert task.results == {"billing": {"by": "billing"}, "kb": {"by": "kb"}}


def test_an_aborted_turn_leaves_no_trace() -> None:
    desk = Desk()
    command = opened(desk.plan)
    first = desk.turn(desk.message(command), promote=False)

    assert first is not None
    assert desk.case(command.case_id) is None


def test_a_restart_restores_the_same_state_from_the_changelog() -> None:
    desk = Desk()
    run_through(desk, "closed")
    for number in range(20):
        desk.tell(opened(desk.plan, event(f"open-{number}")))
    fresh = desk.restarted()

    for partition, state in desk.it.states.items():
        assert values_of(fresh.states[partition]) == values_of(state)
        assert len(fresh.states[partition].closed) == len(state.closed)
        assert fresh.states[partition].position in (None, desk.inbox[partition])


def test_a_closed_case_is_remembered_for_the_dedupe_window_and_then_forgotten() -> None:
    desk = Desk(dedupe_window_s=7200)
    case_id = run_through(desk)
    home = partition_of(case_id.encode(), PARTITIONS)
    again = desk.tell(opened(desk.plan))

    assert again is not None
    assert again.counts["caseworks_events_duplicate_total", ()] == 1
    assert desk.case(case_id) is None
    desk.now = START + 4 * 3600
    assert desk.turn() is not None
    assert case_id not in desk.it.states[home].closed
    assert desk.log[home][-2].value is None
    assert desk.log[home][-2].key == case_id.encode()
    assert desk.turn() is None


def test_timers_fire_and_send_the_position_again() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    desk.now = START + 601
    turn = desk.turn()

    assert turn is not None
    home = TopicPartition("cw.inbox", partition_of(command.case_id.encode(), PARTITIONS))
    assert turn.positions == {home: 1}
    (record,) = desk.to("cw.results.ticket")
    assert Result.from_json(record.value or b"").status == "expired"
    assert desk.turn() is None


def test_a_timer_of_an_aborted_turn_fires_again() -> None:
    desk = Desk()
    desk.tell(opened(desk.plan))
    desk.now = START + 601

    assert desk.turn(promote=False) is not None
    assert desk.turn() is not None
    assert len(desk.to("cw.results.ticket")) == 1


def test_a_command_on_the_wrong_partition_is_forwarded_untouched() -> None:
    desk = Desk()
    command = opened(desk.plan)
    home = partition_of(command.case_id.encode(), PARTITIONS)
    turn = desk.turn(desk.message(command, partition=(home + 1) % PARTITIONS))

    assert turn is not None
    assert (turn.records[0].topic, turn.records[0].partition) == ("cw.inbox", home)
    assert turn.counts["caseworks_commands_forwarded_total", ()] == 1
    assert desk.case(command.case_id) is None


def test_a_command_for_a_case_that_never_was_is_counted() -> None:
    desk = Desk()
    turn = desk.tell(Cancel(case_id="a" * 36))

    assert turn is not None
    assert turn.counts["caseworks_outcomes_ignored_total", (("why", "unknown_case"),)] == 1


def test_poison_in_the_inbox_is_set_aside_and_the_partition_goes_on() -> None:
    desk = Desk()
    poison = Message("cw.inbox", 0, 0, 0, b"k", b"{", (("ce_type", b"caseworks.outcome"),))
    alien = Message("cw.inbox", 0, 1, 0, b"k", b"{}", (("ce_type", b"what"),))
    turn = desk.turn(poison, alien)

    assert turn is not None
    assert [record.topic for record in turn.records[:2]] == ["cw.inbox.dlq"] * 2
    assert turn.positions == {TopicPartition("cw.inbox", 0): 2}


def test_an_output_that_makes_the_case_too_large_fails_its_step() -> None:
    desk = Desk(case_bytes_max=5000)
    command = opened(desk.plan)
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    desk.tell(outcome(case, "triage", output="x" * 6000))

    (record,) = desk.to("cw.results.ticket")
    result = Result.from_json(record.value or b"")
    assert result.status == "escalated"
    assert "case_too_large" in (result.reason or "")


def test_a_rejected_outcome_becomes_a_dead_letter_and_fails_its_step() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    turn = desk.it.reject(desk.message(outcome(case, "triage")), START, "too large")

    topics = [record.topic for record in turn.records]
    assert topics[0] == "cw.inbox.dlq"
    assert "cw.results.ticket" in topics


def test_an_output_nested_too_deep_fails_its_step_and_can_be_restored() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    desk.tell(outcome(case, "triage", output=deep))

    assert "nested too deep" in str(desk.to("cw.results.ticket")[0].value)
    assert desk.restarted().states


def test_a_case_whose_workflow_gained_a_step_ends() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    more = (*desk.plan.spec.steps, StepSpec(name="extra", agent="spare"))
    desk.plan = compile_workflow(desk.plan.spec.evolve(steps=more, version=""), AGENTS)
    desk.it = desk.restarted()
    desk.tell(outcome(case, "triage"))
    desk.now = START + 601
    desk.turn()

    assert b"expired" in (desk.to("cw.results.ticket")[0].value or b"")


def test_an_opened_command_that_is_not_of_its_event_is_set_aside() -> None:
    desk = Desk()
    turn = desk.tell(opened(desk.plan).model_copy(update={"case_id": "abc"}))

    assert turn is not None
    assert turn.records[0].topic == "cw.inbox.dlq"


def test_a_dead_task_can_be_replayed_after_its_case_closed() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    desk.tell(outcome(case, "triage", "failed"))
    (letter,) = desk.to("cw.tasks.triage.dlq")
    headers = dict(letter.headers)
    task_id = task_id_of(command.case_id, "triage")
    desk.tell(Replay(case_id=command.case_id, task_id=task_id, command_id="dlq:0:0"))

    assert headers["cw_dlq_task_id"] == task_id.encode()
    assert headers["cw_dlq_reason"] == b"boom"
    case = desk.case(command.case_id)
    assert case is not None
    assert case.status == "open"
    assert [r.topic for r in desk.records].count("cw.tasks.triage") == 2


@pytest.mark.parametrize("priority", ["urgent", "normal"])
def test_urgent_events_take_the_urgent_lane(priority: str) -> None:
    desk = Desk()
    desk.tell(opened(desk.plan, event(priority=priority)))

    assert len(desk.to("cw.tasks.triage.urgent")) == (priority == "urgent")


def test_a_case_that_closes_after_its_timer_found_nothing_is_not_armed_again() -> None:
    desk = Desk()
    command = opened(desk.plan)
    desk.tell(command)
    state = desk.it.states[partition_of(command.case_id.encode(), PARTITIONS)]
    state.arm(command.case_id, desk.now - 1)

    desk.tell(Cancel(case_id=command.case_id))

    assert desk.case(command.case_id) is None
    assert command.case_id not in state.timers
