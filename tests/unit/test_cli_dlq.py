from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import pytest

from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.memory import MemoryBroker
from tests.unit.command_line import NOW, TOPICS, CommandLine, state_record
from tests.unit.dead_cases import (
    CASE_ID,
    EVENTS_DLQ,
    bury,
    dead,
    died,
    letter_of,
    place,
    place_of_case,
    prepared,
    with_two_letters,
)
from tests.unit.machine import event


@pytest.fixture
def command() -> CommandLine:
    return with_two_letters()


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


def test_a_letter_is_shown_with_its_case_and_what_a_replay_would_do() -> None:
    command, machine = prepared(), died()
    [where] = bury(command, machine)
    out = command("dlq", "show", where).out
    assert "reason      poison" in out
    assert '   "ticket_id": "e1"' in out
    assert f"case {machine.case.case_id}: escalated, kept for its dead letters" in out
    assert "3 finished steps are not run again" in out
    assert "what it reuses cost 360 tokens and $0.03" in out
    [told] = command("dlq", "show", where, "--json").lines
    assert (told["case_status"], told["replay"]["possible"]) == ("escalated", True)
    assert [each["what"] for each in told["timeline"]][:2] == ["opened", "done"]


def test_nothing_of_a_letter_drives_the_terminal() -> None:
    command = prepared()
    message = Message(
        TOPICS.events, 0, 0, 0, b"k\x1b[2J", b'"\x1b[31m"\x07', (("x\x1b", b"\x1b]0;a\x07"),)
    )
    letter = letter_for(message, "rea\x1bson", error="\x9b1m", stacktrace="one\n\x1b[5mtwo")
    command.produce(dead_letter_record(message, EVENTS_DLQ, letter))
    for ran in (command("dlq", "show", place(command, EVENTS_DLQ)), command("dlq", "list")):
        assert all(c == "\n" or c.isprintable() for c in ran.out)


def test_a_large_letter_is_cut_for_people_and_whole_for_scripts() -> None:
    command, large = prepared(), json.dumps({"text": "x" * 900_000}).encode()
    headers = tuple((f"x-{number}", b"v") for number in range(40))
    message = Message(TOPICS.events, 0, 0, 0, b"k", large, headers)
    letter = letter_for(message, "schema")
    command.produce(dead_letter_record(message, EVENTS_DLQ, letter))
    where = place(command, EVENTS_DLQ)
    out = command("dlq", "show", where).out
    assert len(out) < 30_000
    assert f"{len(large)} bytes altogether" in out
    assert "x-39" in out
    [told] = command("dlq", "show", where, "--json").lines
    assert told["value"] == large.decode()


def test_two_letters_and_what_would_be_sent_now_are_compared() -> None:
    command = prepared()
    bury(command, died("e1"), died("e2"))
    one, two = (place_of_case(command, event(name).case_id) for name in ("e1", "e2"))
    assert '-  "id": "e1",' in command("dlq", "diff", one, two).out
    assert command("dlq", "diff", one, one).out == ""
    now = command("dlq", "diff", one, "--patch", '{"lang": "de"}').out
    assert '+  "lang": "de",' in now
    assert "+++ as it would be sent now" in now
    assert f'+ "task_id": "{event("e1").case_id}:reply#1",' in now


def test_a_letter_is_compared_with_an_edited_file(tmp_path: Path) -> None:
    command, file = prepared(), tmp_path / "fixed.json"
    [where] = bury(command, died())
    file.write_text('{"ticket_id": "e7"}')
    assert '+  "ticket_id": "e7"' in command("dlq", "diff", where, "--file", str(file)).out
    file.write_text("{")
    assert "is not JSON" in command("dlq", "diff", where, "--file", str(file)).err


def test_ten_thousand_letters_are_listed_in_three_seconds() -> None:
    command, machine = prepared(), died()
    letter = letter_of(machine)
    command.produce(state_record(machine.case), *[letter] * 10_000)
    began = process_time()
    told = command("dlq", "list", "--json", "--limit", "10000", "--agent", "reply").lines
    assert len(told) == 10_000
    assert process_time() - began < 3 * 2  # twice: other work shares these cores
    began = process_time()
    out = command("dlq", "list", "--where", "payload.event.id == 'e1'").out
    assert "50 of 10000 shown" in out
    assert process_time() - began < 3 * 2
    began = process_time()
    assert command("dlq", "list", "--limit", "10000").out.count("poison") == 10_000
    assert process_time() - began < 3 * 2


def test_the_newest_are_listed_oldest_first_whatever_their_partition() -> None:
    now = [NOW]
    command = CommandLine(broker=MemoryBroker(clock=lambda: now[0]))
    command.make_topics()
    for number in range(6):
        now[0] += 1 if number < 5 else -3
        command.produce(dead(TOPICS.events, f"r{number}")._replace(partition=number % 2))
    told = command("dlq", "list", "--json", "--limit", "4").lines
    assert [each["reason"] for each in told] == ["r5", "r2", "r3", "r4"]
    assert told[-1]["age_s"] == -5.0
