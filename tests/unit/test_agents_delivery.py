"""What a job leaves on the broker: outcomes until they are acknowledged, dead letters intact."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from events.broker import Message
from events.dead_letters import read_letter
from events.errors import RetriableError
from events.loop import Job, Settled
from tests.unit.workbench import Answer, Ticket, Workbench, a_message, a_task


async def answer(ticket: Ticket) -> Answer:
    await asyncio.sleep(1.5)
    return Answer(text=ticket.ticket_id, confidence=0.75)


# ---- tasks that are none


def buried(value: bytes | None) -> tuple[Workbench, Message]:
    bench, message = Workbench(answer), a_message(value, offset=9)
    bench.run(message)
    return bench, message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null_value"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[]", "schema"),
        (b"{}", "schema"),
    ],
)
def test_a_task_that_does_not_decode_is_parked_with_its_bytes(
    value: bytes | None, reason: str
) -> None:
    bench, message = buried(value)

    [record] = bench.producer.records
    letter = read_letter(message._replace(headers=record.headers))
    assert record.topic == "cw.tasks.answer.dlq"
    assert (record.key, record.value) == (message.key, message.value)
    assert record.headers[: len(message.headers)] == message.headers
    assert (letter.topic, letter.partition, letter.offset) == ("cw.tasks.answer", 0, 9)
    assert letter.reason == reason
    assert letter.group == "cw.worker.answer"
    assert bench.crew.take_settled() == [Settled(message.source, 9, 0)]
    assert (
        bench.telemetry.value(
            "caseworks_dead_letters_total", topic="cw.tasks.answer.dlq", reason=reason
        )
        == 1
    )


def test_a_case_whose_task_does_not_decode_is_told() -> None:
    broken = json.loads(a_task().to_json())
    del broken["event"]

    bench, _ = buried(json.dumps(broken).encode())

    dead, told = bench.producer.records
    [outcome] = bench.outcomes()
    assert dead.topic == "cw.tasks.answer.dlq"
    assert dict(dead.headers)["cw_dlq_case_id"] == outcome.case_id.encode()
    assert (told.topic, told.partition) == ("cw.inbox", 3)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "undecodable")


def test_what_needs_two_records_is_settled_by_both() -> None:
    broken = json.loads(a_task().to_json())
    del broken["event"]
    bench = Workbench(answer)
    bench.producer.answer = lambda record: TimeoutError() if ".dlq" in record.topic else None
    bench.run(a_message(json.dumps(broken).encode()), seconds=1)
    assert bench.crew.take_settled() == []

    bench.producer.answer = lambda _: None
    bench.advance(6)
    assert len(bench.crew.take_settled()) == 1
    assert [record.topic for record in bench.producer.acknowledged].count("cw.inbox") == 1


@pytest.mark.parametrize(
    "ids",
    [
        {"reply_to": {"topic": "cw.inbox", "partition": -1}},
        {"reply_to": {"topic": "somebody.else", "partition": 1}},
        {"attempt": "x"},
        {"attempt": 1e400},
        {"task_id": 5},
        {"agent": "Not A Name"},
    ],
)
def test_ids_that_do_not_fit_are_not_answered(ids: dict[str, Any]) -> None:
    broken = {**json.loads(a_task().to_json()), **ids}
    del broken["event"]

    bench, _ = buried(json.dumps(broken).encode())

    assert [record.topic for record in bench.producer.records] == ["cw.tasks.answer.dlq"]


def test_a_task_of_another_agent_is_not_run() -> None:
    bench, _ = buried(a_task("other").to_json())

    dead = bench.producer.records[0]
    assert dict(dead.headers)["cw_dlq_reason"] == b"wrong_agent"


# ---- delivery


def test_a_job_is_settled_by_the_acknowledgement_and_not_before() -> None:
    bench = Workbench(answer)
    message = a_message(a_task(), offset=4)
    bench.crew.begin([Job(message)])
    bench.loop.run_ready()
    bench.clock.now += 2
    bench.loop.run_ready()
    assert len(bench.producer.records) == 1
    assert bench.crew.take_settled() == []

    bench.producer.poll()

    assert bench.crew.take_settled() == [Settled(message.source, 4, 0)]


def test_a_refused_delivery_is_produced_again_and_stays_unsettled() -> None:
    bench = Workbench(answer)
    bench.producer.answer = lambda _: TimeoutError("not acknowledged")
    bench.run(a_message(a_task()), seconds=60)

    tried = len(bench.producer.records)
    assert 5 <= tried <= 30  # back-off: 0.05 s doubling up to 5 s, for 58 s
    assert bench.crew.take_settled() == []

    bench.producer.answer = lambda _: None
    bench.advance(6)

    assert len(bench.crew.take_settled()) == 1
    assert len({record.value for record in bench.producer.records}) == 1


def test_a_full_queue_is_waited_for() -> None:
    bench = Workbench(answer)
    bench.producer.refusal = RetriableError("queue full")
    bench.run(a_message(a_task()), seconds=3)

    assert len(bench.crew.take_settled()) == 1


def test_discarded_jobs_are_cancelled_and_answer_nothing() -> None:
    bench = Workbench(answer)
    gone, kept = a_message(a_task(), partition=1), a_message(a_task(), partition=2)
    bench.crew.begin([Job(gone), Job(kept)])
    bench.advance(1)

    bench.crew.discard(frozenset({gone.source}))
    bench.advance(1)

    assert [outcome.delivery and outcome.delivery.partition for outcome in bench.outcomes()] == [2]
    assert bench.crew.take_settled() == [Settled(kept.source, 0, 0)]
    assert bench.crew.abandoned == 0


def test_a_job_that_was_discarded_before_it_began_leaves_nothing_behind() -> None:
    bench = Workbench(answer)
    bench.crew.begin([Job(a_message(a_task()))])
    bench.crew.discard(None)
    bench.advance(0)
    assert not bench.crew._working

    bench.advance(60)
    assert bench.outcomes() == []
    assert bench.crew.abandoned == 0
    assert bench.loop.next_timer() is None


def test_a_discarded_delivery_is_not_produced_again() -> None:
    bench = Workbench(answer)
    bench.producer.answer = lambda _: TimeoutError("not acknowledged")
    bench.run(a_message(a_task()), seconds=2)
    bench.crew.discard(None)
    tried = len(bench.producer.records)
    bench.advance(60)

    assert len(bench.producer.records) == tried
