"""Correlations in the orchestrator's transactions: homes, changelog, time, dead letters."""

from __future__ import annotations

from coordinator.intake import Intake
from coordinator.workflow import Plan, compile_workflow
from events.broker import Message, Record, TopicPartition
from events.dead_letters import original_headers, read_letter
from events.partitioner import partition_of
from schemas.base import Message as Model
from schemas.base import instant
from schemas.commands import Correlated, Listen, Signal
from schemas.lean_case import Correlation
from schemas.workflow import StepSpec, WaitSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START
from tests.unit.test_correlation import NAME, TYPE, listen, reply
from tests.unit.test_orchestrator import PARTITIONS, TOPICS, Desk

HOME = partition_of(NAME.encode(), PARTITIONS)
KEY = f"@{NAME}"
DAY_S = 86_400.0


def correlated(name: str = "r1") -> Correlated:
    return Correlated(case_id=NAME, event=reply(name))


def entity(desk: Desk) -> Correlation | None:
    data = desk.it.states[HOME].entity(KEY)
    return None if data is None else Correlation.from_json(data)


def signals(desk: Desk) -> list[tuple[int | None, Signal]]:
    return [
        (record.partition, Signal.from_json(record.value or b""))
        for record in desk.to("cw.inbox")
        if dict(record.headers)["ce_type"] == b"caseworks.signal"
    ]


def delivered_back(record: Record) -> Message:
    return Message(record.topic, 0, 0, 0, record.key, record.value, record.headers)


def test_an_event_goes_to_the_home_of_the_case_that_waits_for_it() -> None:
    desk = Desk()
    desk.tell(listen("c1"))
    turn = desk.tell(correlated())

    assert turn is not None
    [(partition, signal)] = signals(desk)
    assert partition == partition_of(b"c1", PARTITIONS)
    assert (signal.case_id, signal.name, signal.data) == ("c1", TYPE, "hi")
    assert signal.signal_id == reply().case_id
    assert turn.counts["caseworks_correlated_total", (("end", "delivered"),)] == 1


def test_a_correlation_comes_back_from_the_changelog_with_its_timer() -> None:
    desk = Desk()
    desk.tell(correlated())
    desk.it = desk.restarted()
    desk.tell(listen("c1"))

    assert [signal.case_id for _, signal in signals(desk)] == ["c1"]
    desk.it = desk.restarted()
    assert entity(desk) is not None
    desk.now = START + 8 * DAY_S
    desk.turn()
    assert entity(desk) is None
    assert desk.log[HOME][-2].value is None


def test_what_nobody_wanted_becomes_a_dead_letter_whose_replay_is_the_event() -> None:
    desk = Desk()
    desk.tell(correlated())
    desk.now = START + DAY_S + 1
    turn = desk.turn()

    assert turn is not None
    assert turn.positions == {TopicPartition("cw.inbox", HOME): desk.inbox[HOME]}
    (record,) = desk.to("cw.events.dlq")
    letter = read_letter(delivered_back(record))
    assert (letter.reason, letter.topic) == ("no_waiter", "cw.events")
    intake = Intake(TOPICS, [waiting_plan()], {}, 10_000)
    kept = original_headers(delivered_back(record))
    replayed = Message("cw.events", 0, 0, 0, record.key, record.value, kept)
    again = intake.plan([replayed], {}, START)
    assert again is not None
    (command,) = again.records
    assert Correlated.from_json(command.value or b"") == correlated()


def test_an_event_that_opened_its_own_case_needs_no_waiter() -> None:
    desk = Desk()
    spec = desk.plan.spec.evolve(on=("ticket.created", TYPE), version="")
    desk.plan = compile_workflow(spec, AGENTS)
    desk.it = desk.restarted()
    desk.tell(correlated())
    desk.now = START + DAY_S + 1
    turn = desk.turn()

    assert turn is not None
    assert turn.counts["caseworks_correlated_total", (("end", "no_waiter"),)] == 1
    assert desk.to("cw.events.dlq") == []


def test_a_command_at_the_wrong_partition_is_forwarded_untouched() -> None:
    desk = Desk()
    message = desk.message(correlated(), partition=(HOME + 1) % PARTITIONS)
    turn = desk.turn(message)

    assert turn is not None
    forwarded = turn.records[0]
    assert (forwarded.topic, forwarded.partition, forwarded.value) == (
        "cw.inbox",
        HOME,
        message.value,
    )
    assert entity(desk) is None


def test_a_turn_moves_one_correlation_many_times_and_writes_it_once() -> None:
    desk = Desk()
    turn = desk.tell(listen("c1"), *(correlated(f"r{n}") for n in range(20)), correlated("r3"))

    assert turn is not None
    written = [record for record in turn.records if record.key == KEY.encode()]
    assert len(written) == 1
    assert len(signals(desk)) == 20
    assert turn.counts["caseworks_correlated_total", (("end", "duplicate"),)] == 1


def test_an_aborted_turn_leaves_no_trace() -> None:
    desk = Desk()
    desk.turn(desk.message(correlated()), promote=False)

    assert entity(desk) is None


def test_a_command_that_is_not_of_its_correlation_is_set_aside() -> None:
    desk = Desk()
    bad: list[Model] = [
        correlated().model_copy(update={"case_id": "abc"}),
        listen().model_copy(update={"subject": "T-2"}),
    ]
    turn = desk.tell(*bad)

    assert turn is not None
    assert [r.topic for r in turn.records[:2]] == ["cw.inbox.dlq"] * 2
    assert entity(desk) is None


def test_a_correlation_that_cannot_be_read_stops_nobody() -> None:
    desk = Desk()
    desk.it.states[HOME].put_entity(KEY, b'{"v": 99}', START)
    desk.now = START + 1
    turn = desk.turn(desk.message(correlated()))

    assert turn is not None
    assert [r.topic for r in turn.records[:1]] == ["cw.inbox.dlq"]
    assert turn.counts["caseworks_outcomes_ignored_total", (("why", "cannot_tick"),)] == 1
    assert desk.turn() is None
    assert desk.it.states[HOME].entity(KEY) == b'{"v": 99}'


def test_a_late_timer_of_a_correlation_that_moved_on_is_armed_again() -> None:
    desk = Desk()
    desk.tell(Listen(**{**dict(listen("c1")), "until": instant(START + 10)}))
    desk.tell(Listen(**{**dict(listen("c2")), "until": instant(START + 20)}))
    desk.now = START + 11
    desk.turn()
    now = entity(desk)

    assert now is not None
    assert list(now.listeners) == ["c2"]
    desk.now = START + 21
    desk.turn()
    assert entity(desk) is None


def waiting_plan() -> Plan:
    """A conversation: triage, then wait for the customer's reply."""
    steps = (
        StepSpec(name="triage", agent="triage"),
        StepSpec(name="answer", after=("triage",), wait=WaitSpec(event=TYPE, timeout_s=60)),
    )
    spec = WorkflowSpec(name="talk", on=("talk.begun",), steps=steps)
    return compile_workflow(spec, AGENTS)
