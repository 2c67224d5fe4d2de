"""Intake: every kind of bad event has a reason, and nothing is dropped."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, field_validator

from coordinator.intake import Intake
from coordinator.turn import Turn
from coordinator.workflow import compile_workflow
from events.broker import Message
from events.dead_letters import original_headers, read_letter
from events.envelope import event_record, read_event
from events.topics import Topics
from schemas.commands import Correlated, Opened, correlation_id_of
from schemas.workflow import StepSpec, WaitSpec
from tests.unit.machine import AGENTS, diamond, event

DATA = Path(__file__).parents[3] / "shared" / "data"
GOOD = {
    "ce_specversion": b"1.0",
    "ce_id": b"e1",
    "ce_source": b"/test",
    "ce_type": b"ticket.created",
    "ce_subject": b"T-1",
    "content-type": b"application/json",
}


class Ticket(BaseModel):
    ticket_id: str
    body: str


def intake(bytes_max: int = 1_048_576) -> Intake:
    return Intake(Topics("cw"), [diamond()], {"ticket.created": TypeAdapter(Ticket)}, bytes_max)


def message(
    value: bytes | None = b'{"ticket_id": "T-1", "body": "hi"}',
    *more: tuple[str, bytes],
    without: str = "",
    offset: int = 0,
    **headers: bytes,
) -> Message:
    given = {name: text for name, text in (GOOD | headers).items() if name != without}
    pairs = (*given.items(), *more)
    return Message("cw.events", 0, offset, 1_700_000_000_000, b"T-1", value, pairs)


def turn_of(*messages: Message) -> Turn:
    turn = intake().plan(messages, {}, 1_700_000_000.0)
    assert turn is not None
    return turn


def test_a_good_event_opens_its_case() -> None:
    (record,) = turn_of(message()).records

    opened = Opened.from_json(record.value or b"")
    assert record.topic == "cw.inbox"
    assert record.key == opened.case_id.encode()
    assert opened.event.data == {"ticket_id": "T-1", "body": "hi"}
    assert opened.event.subject == "T-1"


def waiting(event_type: str = "ticket.replied") -> Intake:
    """An intake whose one workflow waits for a reply."""
    plan = diamond()
    wait = StepSpec(name="answer", wait=WaitSpec(event=event_type, timeout_s=60))
    spec = plan.spec.evolve(steps=(*plan.spec.steps, wait), version="")
    return Intake(Topics("cw"), [compile_workflow(spec, AGENTS)], {}, 1_048_576)


def test_an_event_that_some_step_waits_for_goes_to_its_correlation() -> None:
    turn = waiting().plan([message(ce_type=b"ticket.replied")], {}, 1_700_000_000.0)

    assert turn is not None
    (record,) = turn.records
    correlated = Correlated.from_json(record.value or b"")
    assert correlated.case_id == correlation_id_of("ticket.replied", "T-1")
    assert record.key == correlated.case_id.encode()
    assert correlated.event.data == {"ticket_id": "T-1", "body": "hi"}


def test_a_waited_for_event_without_a_subject_is_refused() -> None:
    nameless = message(ce_type=b"ticket.replied", without="ce_subject")
    turn = waiting().plan([nameless], {}, 1_700_000_000.0)

    assert turn is not None
    (record,) = turn.records
    assert dict(record.headers)["cw_dlq_reason"] == b"no_subject"


def test_an_event_that_opens_a_case_and_is_waited_for_does_both() -> None:
    intake = waiting("ticket.created")
    turn = intake.plan([message(), message(without="ce_subject", ce_id=b"e2")], {}, 1.0)

    assert turn is not None
    types = [dict(record.headers)["ce_type"] for record in turn.records]
    assert types == [b"caseworks.opened", b"caseworks.correlated", b"caseworks.opened"]
    assert len({dict(record.headers)["ce_id"] for record in turn.records}) == 3


def test_the_time_of_an_event_without_one_is_that_of_its_record() -> None:
    assert read_event(message(), 1000).time.timestamp() == 1_700_000_000.0


def test_an_event_is_read_as_it_was_written() -> None:
    business = event(subject="s", tenant="acme", priority="urgent", deadline="2030-01-01T00:00:00Z")
    record = event_record(business, "cw.events", json.dumps(business.data).encode())
    back = read_event(Message("cw.events", 0, 0, 0, record.key, record.value, record.headers), 1000)

    assert back == business


def test_a_structured_event_is_taken() -> None:
    body = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/test",
        "type": "ticket.created",
        "data": {"ticket_id": "T-1", "body": "hi"},
    }
    pairs = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    record = Message("cw.events", 0, 0, 0, None, json.dumps(body).encode(), pairs)

    assert read_event(record, 1000).data == body["data"]


BAD: dict[str, Message] = {
    "not_json": message(b"{nope"),
    "not_utf8": message(b'{"ticket_id": "\xff"}'),
    "null_value": message(None),
    "too_large": message(b'"' + b"x" * 1_100_000 + b'"'),
    "content_type": message(b"{}", ("content-type", b"text/plain"), without="content-type"),
    "missing_attribute": message(without="ce_id"),
    "duplicate_header": message(b"{}", ("ce_id", b"e2")),
    "bad_attribute": message(ce_specversion=b"0.3"),
    "unknown_type": message(ce_type=b"no.such.type"),
    "schema": message(b'{"ticket_id": 1}'),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_event_becomes_a_dead_letter_with_its_reason_and_its_bytes(reason: str) -> None:
    bad = BAD[reason]
    turn = turn_of(bad)

    (record,) = turn.records
    letter = read_letter(Message(record.topic, 0, 0, 0, record.key, record.value, record.headers))
    assert record.topic == "cw.events.dlq"
    assert letter.reason == reason
    assert record.value == bad.value
    kept = Message(record.topic, 0, 0, 0, record.key, record.value, record.headers)
    assert original_headers(kept) == bad.headers
    assert turn.counts["caseworks_events_rejected_total", (("reason", reason),)] == 1


@pytest.mark.parametrize(
    "bad",
    [
        message(ce_deadline=b"9999-12-31T23:59:59-01:00"),
        message(ce_time=b"0001-01-01T00:00:00+01:00"),
        message(None, ("cw_dlq_replays", b"9" * 5000)),
        message(b'{"ticket_id": "x", "body": "b", "n": ' + b"[" * 150 + b"]" * 150 + b"}"),
        message(b'{"ticket_id": "x", "body": "b", "n": 1e999}'),
    ],
)
def test_what_would_break_a_later_step_is_refused_at_the_door(bad: Message) -> None:
    assert [record.topic for record in turn_of(bad).records] == ["cw.events.dlq"]


class Picky(BaseModel):
    body: str

    @field_validator("body", mode="before")
    @classmethod
    def lower(cls, given: Any) -> str:
        text: str = given.lower()
        return text


def test_a_validator_that_raises_anything_refuses_the_event() -> None:
    types: dict[str, TypeAdapter[Any]] = {"ticket.created": TypeAdapter(Picky)}
    turn = Intake(Topics("cw"), [diamond()], types, 1000).plan([message(b'{"body": 5}')], {}, 1.0)

    assert turn is not None
    assert [record.topic for record in turn.records] == ["cw.events.dlq"]


def test_a_bad_event_does_not_stop_its_partition() -> None:
    turn = turn_of(message(b"{"), message(offset=1))

    assert [record.topic for record in turn.records] == ["cw.events.dlq", "cw.inbox"]
    assert list(turn.positions.values()) == [2]


def hostile() -> list[bytes]:
    found = [b"", b"null", b"[]", b"{}", b"{" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000]
    found += [b'{"ticket_id": "x", "body": "\\ud800"}', b'{"ticket_id": "x", "body": "\\u0000"}']
    found.append(b'{"ticket_id": "x", "body": "b", "n": ' + b"9" * 5000 + b"}")
    found.append(b'{"ticket_id": "x", "body": "b", "n": 1e400}')
    for name in ("bad_json_cases", "bad_naughty_strings", "bad_web_payloads"):
        for line in (DATA / f"{name}.jsonl").read_text("utf-8").split("\n"):
            row: dict[str, Any] = json.loads(line) if line else {}
            if "base64" in row:
                found.append(base64.b64decode(row["base64"]))
            elif row:
                found.append(json.dumps({"ticket_id": "x", "body": row["text"]}).encode())
    return found


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data is not beside this checkout")
def test_every_hostile_payload_is_accounted_for() -> None:
    payloads = hostile()
    turn = turn_of(*(message(payload, offset=n) for n, payload in enumerate(payloads)))

    assert len(turn.records) == len(payloads) > 700
    assert {record.topic for record in turn.records} == {"cw.inbox", "cw.events.dlq"}
