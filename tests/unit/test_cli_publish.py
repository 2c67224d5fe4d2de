from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from caseworks.client import new_event
from coordinator.case import apply
from events.broker import ConsumerSpec, Message
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import read_event
from schemas.event import Event, case_id_of
from schemas.result import ResultStatus
from tests.unit.command_line import (
    NOW,
    TOPICS,
    CommandLine,
    published,
    result_record,
    state_record,
)
from tests.unit.machine import diamond, opened, outcome

PLAN = diamond()


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    return made


def sent(command: CommandLine) -> list[Event]:
    return [read_event(message, 10_000) for message in command.records(TOPICS.events)]


def test_an_event_is_published_with_what_was_said_of_it(command: CommandLine) -> None:
    ran = command(
        *("publish", "ticket.created", '{"ticket_id": "7"}', "--id", "e7", "--source", "/me"),
        *("--subject", "t7", "--tenant", "acme", "--priority", "urgent"),
    )
    assert ran.out == f"case {case_id_of('/me', 'e7')}\n"
    [event] = sent(command)
    assert (event.id, event.source, event.subject) == ("e7", "/me", "t7")
    assert (event.tenant, event.priority, event.data) == ("acme", "urgent", {"ticket_id": "7"})


def test_an_event_may_be_part_of_a_trace(command: CommandLine, tmp_path: Path) -> None:
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assert command("publish", "a.b", "{}", "--traceparent", trace).code == 0
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({"type": "a.b", "data": {}, "traceparent": trace}))
    assert command("publish", "--file", str(file)).code == 0
    assert command("publish", "a.b", "{}").code == 0
    assert sorted(str(event.traceparent) for event in sent(command)) == [trace, trace, "None"]


def test_every_event_without_an_id_gets_one_of_its_own(command: CommandLine) -> None:
    one, other = (command("publish", "a.b", "{}", "--json").lines[0] for _ in range(2))
    assert one["id"] != other["id"]


def test_a_file_of_events_is_published(command: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [{"type": "a.b", "id": str(n), "data": {"n": n}} for n in range(3)]
    file.write_text("\n\n".join(map(json.dumps, lines)))
    assert command("publish", "--file", str(file)).out == "published 3 events\n"
    assert sorted(event.data["n"] for event in sent(command)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("a.b", "{'x': 1}"), "the data is not JSON"),
        (("a.b",), "the data is not JSON"),
        (("a.b", "[1]"), "the data must be a JSON object"),
        (("a.b", "{}", "--traceparent", "00-1-2-01"), "no W3C traceparent: '00-1-2-01'"),
        (("a.b", "{}", "--priority", "soon"), "priority: Input should be 'urgent'"),
        ((), "give either TYPE and JSON, or --file"),
        (("--file", "missing.jsonl"), "cannot read missing.jsonl"),
    ],
)
def test_what_cannot_be_published_is_refused_here(
    command: CommandLine, args: tuple[str, ...], complaint: str
) -> None:
    ran = command("publish", *args)
    assert ran.code in (2, 3)
    assert complaint in ran.err
    assert ran.err.count("\n") == 1
    assert sent(command) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", ":2 is not JSON"),
        ("[]", ":2: an event is an object with at least type and data"),
        ('{"type": "a", "data": {}, "color": 1}', ":2: an event has no color"),
        ('{"type": "a", "data": 3}', ":2: the data must be a JSON object"),
    ],
)
def test_a_bad_line_of_a_file_is_named_and_nothing_is_published(
    command: CommandLine, tmp_path: Path, line: str, complaint: str
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"type": "a.b", "data": {}}\n' + line)
    ran = command("publish", "--file", str(file))
    assert ran.code == 2
    assert complaint in ran.err
    assert sent(command) == []


# --- following


class Answering(Thread):
    """Plays the coordinator for one event: states of its case, then a result or a refusal."""

    def __init__(self, command: CommandLine, status: ResultStatus | None) -> None:
        super().__init__(daemon=True)
        self.command, self.status = command, status
        self.start()

    def run(self) -> None:
        consumer = self.command.broker.consumer(ConsumerSpec("test", (TOPICS.events,)))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for message in consumer.take(1, 0.05).messages:
                self.answer(message)
                return

    def answer(self, message: Message) -> None:
        event = read_event(message, 10_000)
        if self.status is None:
            letter = letter_for(message, "schema", error="ticket_id is missing")
            self.command.produce(dead_letter_record(message, TOPICS.dlq(TOPICS.events), letter))
            return
        case = apply(None, opened(PLAN, event), NOW, PLAN)[0]
        assert case is not None
        after = apply(case, outcome(case, "triage"), NOW, PLAN)[0]
        assert after is not None
        self.command.produce(state_record(case), state_record(after))
        self.command.produce(result_record(event, self.status, {"answer": "yes"}))


def test_waiting_tells_what_happens_and_the_answer(command: CommandLine) -> None:
    answering = Answering(command, "completed")
    ran = command("publish", "ticket.created", "{}", "--subject", "s1", "--wait")
    answering.join(5)
    assert ran.code == 0
    told = [line.split()[2:] for line in ran.out.splitlines() if " ms  " in line]
    assert ["opened", "ticket", "ticket.created"] in told
    assert ["triage", "sent", "to", "triage"] in told
    assert any(line[:2] == ["triage", "done"] for line in told)
    assert ran.out.endswith('ticket.completed (completed)\n{\n  "answer": "yes"\n}\n')


def test_waiting_can_be_read_by_a_script(command: CommandLine) -> None:
    answering = Answering(command, "completed")
    ran = command("publish", "ticket.created", "{}", "--wait", "--json")
    answering.join(5)
    assert ran.lines[-1]["result"]["output"] == {"answer": "yes"}


def test_a_case_that_failed_is_a_failed_command(command: CommandLine) -> None:
    answering = Answering(command, "failed")
    assert command("publish", "ticket.created", "{}", "--wait").code == 1
    answering.join(5)


def test_a_refused_event_is_told_with_the_reason(command: CommandLine) -> None:
    answering = Answering(command, None)
    ran = command("publish", "ticket.created", "{}", "--wait")
    answering.join(5)
    assert ran.code == 1
    assert "refused: schema: ticket_id is missing" in ran.err
    assert "caseworks dlq show cw.events.dlq:" in ran.err


def test_waiting_ends_and_says_where_to_look(command: CommandLine) -> None:
    ran = command("publish", "a.b", "{}", "--wait", "--timeout-s", "0.1")
    assert ran.code == 1
    assert "no result within 0.1 s: caseworks case show" in ran.err


def test_waiting_for_several_events_is_refused(command: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"type": "a.b", "data": {}}\n' * 2)
    ran = command("publish", "--file", str(file), "--wait")
    assert "--wait follows one event, not 2" in ran.err


# --- results


def test_results_that_are_there_are_shown(command: CommandLine) -> None:
    event = new_event("ticket.created", {}, id="e1")
    command.produce(*published([event]), result_record(event, output={"intent": "\x1b[2J"}))
    ran = command("results")
    assert "ticket.completed  completed  e1" in ran.out
    assert "\x1b" not in ran.out
    [told] = command("results", "ticket", "--json").lines
    assert told["result"]["event"]["id"] == "e1"


def test_results_that_come_are_followed(command: CommandLine) -> None:
    old, new = (new_event("ticket.created", {}, id=name) for name in ("old", "new"))
    command.produce(result_record(old))

    seen = Flag()

    def keep_coming() -> None:
        while not seen.wait(0.02):
            command.produce(result_record(new))

    thread = Thread(target=keep_coming)
    thread.start()
    ran = command("results", "--follow", "--limit", "1", "--json")
    seen.set()
    thread.join(5)
    assert [line["result"]["event"]["id"] for line in ran.lines] == ["new"]


def test_what_is_no_result_is_skipped_and_told(command: CommandLine) -> None:
    from events.broker import Record

    command.produce(Record(TOPICS.results("ticket"), b"x", b"{}"))
    ran = command("results")
    assert ran.code == 0
    assert "skipped cw.results.ticket" in ran.err


def test_an_event_that_was_answered_before_is_not_waited_for(command: CommandLine) -> None:
    event = new_event("ticket.created", {}, id="e1", source="caseworks/cli")
    command.produce(result_record(event, output="yes"))
    ran = command("publish", "ticket.created", "{}", "--id", "e1", "--wait")
    assert ran.code == 0
    assert "answered before" in ran.err
    assert ran.out.endswith('ticket.completed (completed)\n"yes"\n')


def test_nothing_is_published_where_the_topics_are_missing() -> None:
    ran = CommandLine()("publish", "a.b", "{}")
    assert ran.code == 3
    assert "there is no topic cw.events  hint: caseworks topics create" in ran.err
