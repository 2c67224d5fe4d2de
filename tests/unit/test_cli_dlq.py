from __future__ import annotations

import pytest

from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from schemas.commands import Replay
from tests.unit.command_line import COUNTS, TOPICS, CommandLine
from tests.unit.machine import event

EVENTS_DLQ = TOPICS.dlq(TOPICS.events)
TASKS_DLQ = TOPICS.dlq(TOPICS.tasks("triage"))
BAD = b'{"ticket_id": \xff'
CASE_ID = event().case_id


def dead(topic: str, reason: str, *, at_ms: int = 1000, **fields: object) -> Record:
    message = Message(topic, 1, 7, at_ms, b"key", BAD, (("ce_id", b"e1"), ("ce_source", b"/test")))
    return dead_letter_record(message, TOPICS.dlq(topic), letter_for(message, reason, **fields))


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    made.produce(
        dead(TOPICS.events, "not_utf8", error="byte 14 is not UTF-8"),
        dead(TOPICS.tasks("triage"), "poison", case_id=CASE_ID, task_id=f"{CASE_ID}:triage"),
    )
    return made


def place(command: CommandLine, topic: str) -> str:
    [message] = command.records(topic)
    return f"{topic}:{message.partition}:{message.offset}"


def test_dead_letters_are_listed_with_their_reason(command: CommandLine) -> None:
    told = command("dlq", "list", "--json").lines
    assert {each["reason"] for each in told} == {"not_utf8", "poison"}
    assert "byte 14 is not UTF-8" in command("dlq", "list").out
    [one] = command("dlq", "list", "--json", "--reason", "poison").lines
    assert one["case_id"] == CASE_ID


def test_only_the_newest_are_listed() -> None:
    command = CommandLine()
    command.make_topics()
    for number in range(5):
        command.produce(dead(TOPICS.events, f"reason-{number}"))
    told = command("dlq", "list", "--json", "--limit", "2").lines
    assert len(told) == 2


def test_one_is_shown_whole_and_harmless(command: CommandLine) -> None:
    ran = command("dlq", "show", place(command, EVENTS_DLQ))
    assert ran.code == 0
    assert "reason      not_utf8" in ran.out
    assert '{"ticket_id": \\xff' in ran.out
    assert "ce_id" in ran.out


def test_a_record_that_is_no_letter_is_shown_not_hidden(command: CommandLine) -> None:
    command.produce(Record(EVENTS_DLQ, b"x", b"y"))
    reasons = [each["reason"] for each in command("dlq", "list", "--json").lines]
    assert "unknown" in reasons


@pytest.mark.parametrize("text", ["nonsense", "a:b:c", f"{EVENTS_DLQ}:0:999", "cw.events:0:0"])
def test_a_letter_that_is_not_there_is_one_line(command: CommandLine, text: str) -> None:
    ran = command("dlq", "show", text)
    assert ran.code != 0
    assert ran.err.count("\n") == 1


def test_a_refused_event_goes_back_as_it_was(command: CommandLine) -> None:
    ran = command("dlq", "replay", place(command, EVENTS_DLQ))
    assert ran.code == 0
    [message] = command.records(TOPICS.events)
    assert (message.key, message.value) == (b"key", BAD)
    assert message.headers == (
        ("ce_id", b"e1"),
        ("ce_source", b"/test"),
        ("cw_dlq_replays", b"1"),
    )


def test_a_dead_task_goes_back_into_its_case_by_a_command_named_after_it(
    command: CommandLine,
) -> None:
    where = place(command, TASKS_DLQ)
    command("dlq", "replay", where)
    command("dlq", "replay", where)
    one, other = command.records(TOPICS.inbox)
    assert one.header("ce_type") == Replay.ce_type
    assert one.key == CASE_ID.encode()
    sent = Replay.from_json(one.value)
    assert (sent.case_id, sent.task_id) == (CASE_ID, f"{CASE_ID}:triage")
    assert sent.command_id == Replay.from_json(other.value).command_id == where
    from events.partitioner import partition_of

    assert one.partition == partition_of(CASE_ID.encode(), COUNTS.inbox)


def test_all_of_a_reason_go_back_at_once(command: CommandLine) -> None:
    ran = command("dlq", "replay", "--all", "--reason", "poison", "--json")
    assert [each["to"] for each in ran.lines] == [TOPICS.inbox]
    assert command.records(TOPICS.events) == []


def test_replay_wants_to_be_told_what(command: CommandLine) -> None:
    ran = command("dlq", "replay")
    assert ran.code == 2
    assert "name the dead letters, or say --all" in ran.err


def test_a_dead_task_that_does_not_say_whose_it_is_stays(command: CommandLine) -> None:
    command.produce(dead(TOPICS.tasks("triage"), "undecodable"))
    ran = command("dlq", "replay", "--all", "--reason", "undecodable")
    assert ran.code == 3
    assert "does not say whose task it is" in ran.err
    assert command.records(TOPICS.inbox) == []
