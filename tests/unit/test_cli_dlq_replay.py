from __future__ import annotations

import json
from pathlib import Path

import pytest

from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.partitioner import partition_of
from events.topics import catalogue
from schemas.commands import Drop, Replay
from schemas.letter_audit import LetterHandled
from tests.unit.command_line import COUNTS, TOPICS, CommandLine
from tests.unit.dead_cases import (
    BAD,
    EVENTS_DLQ,
    bury,
    dead,
    died,
    home_of,
    letter_of,
    place,
    place_of_case,
    prepared,
    with_two_letters,
)
from tests.unit.machine import event, sent


@pytest.fixture
def command() -> CommandLine:
    return with_two_letters()


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


@pytest.mark.parametrize(
    ("state", "told"),
    [("gone", "is forgotten"), ("never", "is unknown"), ("closed", "is not kept for it any more")],
)
def test_a_letter_whose_case_is_gone_says_so_and_is_not_replayed(state: str, told: str) -> None:
    command, machine = prepared(), died()
    [where] = bury(command, machine)
    if state == "never":
        command = prepared()
        command.produce(letter_of(machine))
    key, home = machine.case.case_id.encode(), home_of(machine.case)
    value = {"gone": None, "closed": b'{"closed": 1, "status": "escalated"}'}.get(state)
    if state != "never":
        command.produce(Record(TOPICS.cases, key, value, (), home))
    assert told in command("dlq", "show", where).out
    assert command("case", "show", machine.case.case_id).code == (0 if state == "closed" else 3)
    ran = command("dlq", "replay", where)
    assert (ran.code, told in ran.err) == (1, True)
    assert command.records(TOPICS.inbox) == []
    assert command("dlq", "replay", where, "--force").code == 0
    assert len(command.records(TOPICS.inbox)) == 1


def test_a_dead_task_goes_back_into_its_case_by_a_command_named_after_it() -> None:
    command, machine = prepared(), died()
    [where] = bury(command, machine)
    ran = command("dlq", "replay", where)
    assert "saved 360 tokens and $0.03: the results of 3 finished steps are reused" in ran.out
    [one] = command.records(TOPICS.inbox)
    case_id = machine.case.case_id
    told = Replay.from_json(one.value)
    assert (told.case_id, told.command_id, told.task_id) == (case_id, where, f"{case_id}:reply")
    assert one.partition == partition_of(case_id.encode(), COUNTS.inbox)


def test_what_was_replayed_is_told_and_not_done_again() -> None:
    command = prepared()
    [where] = bury(command, died())
    assert command("dlq", "replay", where, "--by", "ann", "--why", "fixed").code == 0
    ran = command("dlq", "replay", where, "--by", "bob")
    assert ran.code == 1
    assert "it was replayed by ann at" in ran.err
    assert command("dlq", "list", "--json").lines == []
    [told] = command("dlq", "list", "--json", "--all").lines
    assert (told["handled"]["by"], told["handled"]["why"]) == ("ann", "fixed")
    assert "replayed by ann 0s ago" in command("dlq", "list", "--all").out
    [entry] = command("dlq", "log", "--json").lines
    assert (entry["type"], entry["action"], entry["place"], entry["command_id"]) == (
        LetterHandled.ce_type,
        "replay",
        where,
        where,
    )


def test_two_people_at_once_have_one_effect() -> None:
    command, machine = prepared(), died()
    [where] = bury(command, machine)
    for who in ("ann", "bob"):  # neither has seen what the other one did
        assert command("dlq", "replay", where, "--by", who, "--force").code == 0
    first, second = (Replay.from_json(m.value) for m in command.records(TOPICS.inbox))
    assert first.command_id == second.command_id
    assert sent(machine.do(first)) == ["reply"]
    before = machine.case
    machine.do(second)
    assert machine.case is before


def test_a_selection_is_replayed_and_leaves_the_rest() -> None:
    command = prepared()
    bury(command, *(died(f"e{number}", tenant=f"t{number % 2}") for number in range(6)))
    chosen = ("--tenant", "t1", "--why", "fixed", "--yes")
    ran = command("dlq", "replay", *chosen)
    assert "3 replayed" in ran.out
    assert "--resume" in ran.err
    assert len(command.records(TOPICS.inbox)) == 3
    assert {each["tenant"] for each in command("dlq", "list", "--json").lines} == {"t0"}
    assert "nothing is left" in command("dlq", "replay", *chosen).err
    assert len(command.records(TOPICS.inbox)) == 3


def test_a_dry_run_tells_all_and_sends_nothing() -> None:
    command = prepared()
    bury(command, died("e1"), died("e2"))
    patch = ("--patch", '{"lang": "de"}')
    ran = command("dlq", "replay", "--agent", "reply", "--why", "x", "--dry-run", *patch)
    assert "2 would be replayed" in ran.out
    assert '+ "lang": "de"' in ran.out
    assert "saved 720 tokens" in ran.out
    assert command.records(TOPICS.inbox) == command.records(TOPICS.letter_audit) == []


def test_a_limited_run_is_finished_by_resuming_it() -> None:
    command = prepared()
    bury(command, *(died(f"e{number}") for number in range(5)))
    chosen = ("--agent", "reply", "--why", "fixed", "--yes", "--limit", "2", "--name", "tue")
    patch = ("--patch", '{"lang": "de"}')
    ran = command("dlq", "replay", *chosen, *patch)
    assert "the rest: caseworks dlq replay --resume tue" in ran.err
    again = command("dlq", "replay", *chosen)
    assert "a run named tue was begun before" in again.err
    ran = command("dlq", "replay", "--resume", "tue", "--yes", "--by", "bob")
    assert "3 replayed" in ran.out
    told = [Replay.from_json(message.value) for message in command.records(TOPICS.inbox)]
    assert len({each.command_id for each in told}) == len(told) == 5
    assert [each.input["lang"] for each in told] == ["de"] * 5
    assert {each.why for each in told} == {"fixed"}
    lag = command.broker.admin().lag(TOPICS.replay_group("tue"))
    assert sum(each.end - (each.committed or 0) for each in lag) == 0
    assert "nothing is left" in command("dlq", "replay", "--resume", "tue", "--yes").err


def test_what_dies_after_a_run_began_is_none_of_its_business() -> None:
    command = prepared()
    bury(command, died("e1"), died("e2"))
    chosen = ("--all", "--why", "fixed", "--yes", "--limit", "1", "--name", "tue")
    command("dlq", "replay", *chosen)
    bury(command, died("e3"))
    assert "1 replayed" in command("dlq", "replay", "--resume", "tue", "--yes").out
    [left] = command("dlq", "list", "--json").lines
    assert left["case_id"] == event("e3").case_id


def test_letters_that_cannot_be_replayed_do_not_hold_up_the_others() -> None:
    command = prepared()
    command.produce(dead(TOPICS.tasks("reply"), "undecodable"), Record(EVENTS_DLQ, b"x", b"y"))
    bury(command, died())
    ran = command("dlq", "replay", "--all", "--why", "fixed", "--yes")
    assert ran.code == 0
    assert "1 replayed; refused: " in ran.out
    assert "1 no_case" in ran.out
    assert "1 foreign" in ran.out
    assert "does not say whose task it is" in ran.err
    assert len(command("dlq", "list", "--json").lines) == 2


def test_a_patched_task_gets_the_new_input_and_the_audit_tells() -> None:
    command = prepared()
    [where] = bury(command, died())
    assert command("dlq", "replay", where, "--patch", '{"lang": "de"}').code == 0
    [back] = command.records(TOPICS.inbox)
    assert Replay.from_json(back.value).input == {"ticket_id": "e1", "lang": "de"}
    [entry] = command("dlq", "log", "--json").lines
    assert '+ "lang": "de"' in entry["changed"]


def editor(folder: Path, becomes: str) -> str:
    script = folder / "editor.sh"
    script.write_text(f"#!/bin/sh\n{becomes}\n")
    script.chmod(0o700)
    return str(script)


@pytest.mark.parametrize(
    ("becomes", "code", "given"),
    [
        ("""printf '{"ticket_id": "e2"}' > "$1" """, 0, {"ticket_id": "e2"}),
        ("""printf '{"ticket_id": ' > "$1" """, 1, None),
        ("true", 0, None),
        ("false", 3, None),
    ],
)
def test_an_edited_task_goes_back_when_it_is_valid(
    becomes: str, code: int, given: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor(tmp_path, becomes))
    command = prepared()
    [where] = bury(command, died())
    ran = command("dlq", "replay", where, "--edit")
    assert ran.code == code
    told = [Replay.from_json(message.value) for message in command.records(TOPICS.inbox)]
    assert [each.input for each in told] == ([given] if code == 0 else [])
    assert ("nothing was changed" in ran.err) is (becomes == "true")


def test_a_refused_event_is_mended_and_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor(tmp_path, """printf '{"ticket_id": "9"}' > "$1" """))
    command = prepared()
    command.produce(dead(TOPICS.events, "not_utf8"))
    assert command("dlq", "replay", place(command, EVENTS_DLQ), "--edit").code == 0
    [back] = command.records(TOPICS.events)
    assert json.loads(back.value) == {"ticket_id": "9"}
    assert (back.header("ce_id"), back.header("cw_dlq_replays")) == ("e1", "1")


def test_a_command_goes_back_to_the_inbox_as_it_was() -> None:
    command = prepared()
    command.produce(dead(TOPICS.inbox, "unknown_workflow"))
    where = place(command, TOPICS.dlq(TOPICS.inbox))
    assert "only be replayed as it was" in command("dlq", "replay", where, "--patch", "{}").err
    assert command("dlq", "replay", where).code == 0
    [back] = command.records(TOPICS.inbox)
    assert (back.key, back.value) == (b"key", BAD)


def test_an_event_that_nobody_waited_for_goes_back_to_the_events() -> None:
    command = prepared()
    message = Message(TOPICS.events, -1, -1, 1000, b"k", b"{}", (("ce_id", b"e1"),))
    letter = letter_for(message, "no_waiter", group="cw.orchestrator")
    command.produce(dead_letter_record(message, EVENTS_DLQ, letter))
    chosen = ("--reason", "no_waiter", "--why", "the case is there now", "--yes")
    assert "1 replayed" in command("dlq", "replay", *chosen).out
    [back] = command.records(TOPICS.events)
    assert (back.key, back.value, back.header("ce_id")) == (b"k", b"{}", "e1")


def test_a_foreign_record_is_refused_by_name_and_can_be_dropped() -> None:
    command = prepared()
    command.produce(Record(EVENTS_DLQ, b"x", b"\xff\x00"))
    where = place(command, EVENTS_DLQ)
    assert "it is no letter of ours" in command("dlq", "replay", where, "--force").err
    assert "it cannot be replayed" in command("dlq", "show", where).out
    assert command("dlq", "drop", where, "--why", "not ours").code == 0
    assert command("dlq", "list", "--json").lines == []


def test_dropped_letters_tell_their_cases_and_are_listed_no_more() -> None:
    command, parked = prepared(), died("e1", on_dead_letter="park")
    bury(command, parked, died("e2"))
    command.produce(dead(TOPICS.events, "schema"))
    ran = command("dlq", "drop", "--all", "--why", "too old", "--yes", "--by", "ann")
    assert "3 dropped" in ran.out
    drops = [Drop.from_json(message.value) for message in command.records(TOPICS.inbox)]
    assert {each.case_id for each in drops} == {event(name).case_id for name in ("e1", "e2")}
    assert {(each.by, each.why) for each in drops} == {("ann", "too old")}
    parked.do(next(each for each in drops if each.case_id == parked.case.case_id))
    assert parked.case.status == "failed"
    assert command("dlq", "list", "--json").lines == []
    where = place_of_case(command, event("e2").case_id)
    assert "it was dropped by ann" in command("dlq", "replay", where).err
    assert len(command.records(EVENTS_DLQ)) == 1


def test_a_drop_of_a_whole_selection_is_told_before_it_is_done() -> None:
    command = prepared()
    bury(command, died())
    assert "1 would be dropped" in command("dlq", "drop", "--all", "--why", "x", "--dry-run").out
    assert "say --yes" in command("dlq", "drop", "--all", "--why", "x").err
    assert command.records(TOPICS.letter_audit) == []


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "name the dead letters, or say which"),
        (("cw.events.dlq:0:0", "--all"), "name the dead letters, or say which"),
        (("--all",), "say --why"),
        (("cw.events.dlq:0:0", "cw.events.dlq:0:1"), "say --why"),
        (("cw.events.dlq:0:0", "cw.events.dlq:0:0", "--why", "x"), "named twice"),
        (("--all", "--why", "x"), "say --yes"),
        (("--all", "--why", "x", "--edit"), "--edit takes one"),
        (("cw.events.dlq:0:0", "--edit", "--patch", "{}"), "--patch stands alone"),
        (("cw.events.dlq:0:0", "--patch", "null"), "--patch stands alone"),
        (("cw.events.dlq:0:0", "--patch", "{"), "the patch is not JSON"),
        (("cw.events.dlq:0:0", "--rate", "0"), "a rate of 0 would not end"),
        (("--resume", "x", "--all"), "say nothing more"),
        (("--resume", "x"), "no replay named x was begun here"),
        (("--all", "--why", "x", "--name", "a b"), "a name is of letters"),
        (("--all", "--why", "x", "--since", "soon"), "is no time"),
        (("--where", "payload.[", "--why", "x"), "expression"),
    ],
)
def test_a_replay_that_is_typed_wrongly_is_one_line(
    command: CommandLine, args: tuple[str, ...], told: str
) -> None:
    ran = command("dlq", "replay", *args)
    assert ran.code != 0
    assert told in ran.err
    assert ran.err.count("\n") == 1
    assert command.records(TOPICS.letter_audit) == []


def test_without_the_topic_of_the_audit_nothing_is_done() -> None:
    command = CommandLine()
    specs = catalogue(TOPICS, ["triage"], ["ticket"], COUNTS)
    command.broker.admin().create([spec for spec in specs if spec.name != TOPICS.letter_audit])
    command.produce(dead(TOPICS.events, "schema"))
    assert len(command("dlq", "list", "--json").lines) == 1
    ran = command("dlq", "replay", place(command, EVENTS_DLQ))
    assert (ran.code, "caseworks topics create" in ran.err) == (3, True)
    assert command.records(TOPICS.events) == []


def test_a_forced_run_stays_forced_when_it_is_resumed() -> None:
    command = prepared()
    command.produce(letter_of(died("e1")), letter_of(died("e2")))  # nobody knows their cases
    chosen = ("--all", "--why", "x", "--yes", "--limit", "1", "--name", "tue", "--force")
    assert "1 replayed" in command("dlq", "replay", *chosen).out
    assert "1 replayed" in command("dlq", "replay", "--resume", "tue", "--yes").out
