"""Approvals and dead letters over HTTP: every way to be too late has an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from caseworks.projection.views import ApprovalView
from events.broker import Record
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import record_of
from events.memory import MemoryBroker
from events.memory.producers import MemoryProducer
from schemas.approval import ApprovalEnded, ApprovalEnding, ApprovalRequested, action_hash_of
from schemas.base import instant
from schemas.commands import Decision
from tests.unit.api_world import AT, NOW, World, bearer, keyed, world
from tests.unit.machine import event

pytestmark = pytest.mark.anyio
CASE_ID = event().case_id
APPROVAL = f"{CASE_ID}:refund"
ACTION = {"refund_usd": 40}
HASH = action_hash_of(ACTION)
YES = {"decision": "approve", "action_hash": HASH}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def asked(**fields: Any) -> Record:
    request = ApprovalRequested(
        **{
            "approval_id": APPROVAL,
            "case_id": CASE_ID,
            "workflow": "order",
            "step": "refund",
            "action": ACTION,
            "action_hash": HASH,
            "event": event().ref(),
            "asked_at": instant(NOW - 60),
            "expires_at": instant(NOW + 60),
            "on_expiry": "escalate",
            **fields,
        }
    )
    return _written(request)


def ended(ending: ApprovalEnding, by: str) -> Record:
    at = instant(NOW)
    return _written(
        ApprovalEnded(approval_id=APPROVAL, case_id=CASE_ID, ending=ending, by=by, ended_at=at)
    )


def _written(message: ApprovalRequested | ApprovalEnded) -> Record:
    return record_of(
        message,
        message.ce_type,
        topic="cw.approvals",
        key=CASE_ID,
        ce_id="x",
        source="caseworks/cw",
        now=NOW,
    )


def view(**fields: Any) -> ApprovalView:
    known: dict[str, Any] = {
        "approval_id": APPROVAL,
        "case_id": CASE_ID,
        "workflow": "order",
        "step": "refund",
        "tenant": None,
        "action": ACTION,
        "action_hash": HASH,
        "confidence": 0.4,
        "why": "",
        "asked_at": AT,
        "expires_at": AT,
        "on_expiry": "escalate",
        "status": "open",
    }
    return ApprovalView(**{**known, **fields})


def write(api: World, *records: Record) -> None:
    producer = api.broker.producer()
    for record in records:
        producer.produce(record)
    assert producer.flush(5) == 0


async def decide(api: World, body: Any = None, **more: Any) -> Any:
    return await api.post(f"/approvals/{APPROVAL}/decision", json=body or YES, **more)


def sent(api: World) -> list[Decision]:
    return [Decision.from_json(m.value or b"") for m in api.records(api.settings.topics.inbox)]


async def test_a_decision_is_sent_in_the_name_of_who_decides() -> None:
    async with world(gate=keyed()) as api:
        api.reader.asked[APPROVAL] = view()
        write(api, asked())
        told = await decide(api, headers=bearer("decide"))

        assert (told.status_code, told.json()["state"]) == (202, "sent")
        assert sent(api) == [
            Decision(
                case_id=CASE_ID,
                approval_id=APPROVAL,
                verdict="approve",
                action_hash=HASH,
                by="decide",
            )
        ]


async def test_a_correction_says_what_to_do_instead() -> None:
    async with world() as api:
        api.reader.asked[APPROVAL] = view()
        write(api, asked())
        body = {"decision": "correct", "action_hash": HASH, "output": {"refund_usd": 10}}
        told = await decide(api, {**body, "note": "ten is our limit"})

        assert told.status_code == 202
        assert sent(api)[0].correction == {"refund_usd": 10}
        assert sent(api)[0].note == "ten is our limit"


@pytest.mark.parametrize(
    "body",
    [
        {"decision": "correct", "action_hash": HASH},
        {**YES, "output": {}},
        {"decision": "perhaps", "action_hash": HASH},
        {"decision": "approve"},
        {**YES, "correction": 1},
    ],
)
async def test_an_answer_that_makes_no_sense_is_not_sent(body: Any) -> None:
    async with world() as api:
        api.reader.asked[APPROVAL] = view()
        write(api, asked())

        assert (await decide(api, body)).status_code == 422
        assert sent(api) == []


@pytest.mark.parametrize(
    ("records", "body", "says"),
    [
        ([asked(expires_at=instant(NOW - 1))], YES, "expired at"),
        ([asked(), ended("reject", "bob")], YES, "was rejected by bob"),
        ([asked()], {**YES, "action_hash": "other"}, "not the one that was shown"),
    ],
)
async def test_a_decision_that_is_too_late_is_told_what_happened(
    records: list[Record], body: Any, says: str
) -> None:
    async with world() as api:
        api.reader.asked[APPROVAL] = view()
        write(api, *records)
        told = await decide(api, body)

        assert told.status_code == 409
        assert says in told.json()["detail"]
        assert sent(api) == []


@pytest.mark.parametrize("tenant", ["other", None])
async def test_a_question_of_someone_else_was_never_asked(tenant: str | None) -> None:
    async with world(gate=keyed()) as api:
        api.reader.asked[APPROVAL] = view(tenant=tenant)
        write(api, asked())

        assert (await decide(api, headers=bearer("acme"))).status_code == 404
        listed = await api.get("/approvals", headers=bearer("acme"))
        assert listed.json()["items"] == []


class Answering(MemoryBroker):
    """A broker with a coordinator behind it that takes the first of all decisions."""

    answers: tuple[Record, ...] = ()

    def producer(self, *, ordered: bool = True) -> MemoryProducer:
        answers, self.answers = self.answers, ()
        for record in answers:
            made = super().producer()
            made.produce(record)
            made.flush(1)
        return super().producer(ordered=ordered)


@pytest.mark.parametrize(
    ("answer", "status"),
    [(ended("approve", "developer"), 200), (ended("reject", "bob"), 409)],
)
async def test_of_two_decisions_at_once_the_second_hears_of_the_first(
    answer: Record, status: int
) -> None:
    broker = Answering()
    async with world(broker=broker) as api:
        api.reader.asked[APPROVAL] = view()
        write(api, asked())
        broker.answers = (answer,)
        told = await decide(api)

        assert told.status_code == status
        if status == 409:
            assert "rejected by bob" in told.json()["detail"]
            assert (told.json()["ending"], told.json()["by"]) == ("reject", "bob")


# --- dead letters


def dead_event(api: World, number: int = 0, tenant: str | None = None) -> str:
    """An event that intake refused; returns the id of its letter."""
    topics = api.settings.topics
    found = event(f"e{number}")
    attributes = [("ce_specversion", b"1.0"), ("ce_id", f"e{number}".encode())]
    attributes += [("ce_source", b"s"), ("ce_type", b"order.placed")]
    attributes += [("ce_tenant", tenant.encode())] if tenant else []
    write(api, Record(topics.events, found.id.encode(), b'{"item": "x"}', tuple(attributes)))
    message = api.records(topics.events)[-1]
    letter = letter_for(
        message, "schema", error="data.price: missing", error_type="PayloadError", group="cw.intake"
    )
    write(api, dead_letter_record(message, topics.dlq(topics.events), letter))
    last = api.records(topics.dlq(topics.events))[-1]
    return f"{last.topic}/{last.partition}/{last.offset}"


async def test_a_letter_is_shown_with_what_a_replay_would_do() -> None:
    async with world() as api:
        place = dead_event(api)
        told = (await api.get(f"/letters/{place}")).json()

        assert (told["id"], told["reason"], told["value"]) == (place, "schema", '{"item": "x"}')
        assert told["replay"]["possible"] is True
        assert told["editable"] == '{\n "item": "x"\n}\n'


@pytest.mark.parametrize(
    "place", ["cw.events.dlq/0/99", "cw.events.dlq/99/0", "cw.events/0/0", "other.events.dlq/0/0"]
)
async def test_a_letter_that_is_not_there_is_not_found(place: str) -> None:
    async with world() as api:
        assert (await api.get(f"/letters/{place}")).status_code == 404


async def test_a_replay_is_told_first_and_done_when_it_is_asked_for() -> None:
    async with world() as api:
        place = dead_event(api)
        body: dict[str, Any] = {"places": [place], "patch": {"price": 4}}
        foretold = (await api.post("/letters/replay", json=body)).json()
        events = len(api.records(api.settings.topics.events))
        done = (await api.post("/letters/replay", json={**body, "dry_run": False})).json()
        again = await api.post("/letters/replay", json={**body, "dry_run": False})

        assert (foretold["dry_run"], foretold["done"], events) == (True, 1, 1)
        assert '+ "price": 4' in foretold["letters"][0]["changed"]
        assert (done["dry_run"], done["done"], done["letters"][0]["id"]) == (False, 1, place)
        values = [m.value for m in api.records(api.settings.topics.events)]
        assert b'{"item":"x","price":4}' in values
        assert (again.status_code, again.json()["reason"]) == (409, "handled")


async def test_an_edited_letter_is_replayed_as_it_was_edited() -> None:
    async with world() as api:
        body = {"places": [dead_event(api)], "edit": {"item": "y", "price": 1}, "dry_run": False}
        told = await api.post("/letters/replay", json=body)

        assert told.json()["done"] == 1, told.text
        values = [m.value for m in api.records(api.settings.topics.events)]
        assert b'{"item":"y","price":1}' in values


async def test_a_selection_is_replayed_as_a_run_and_what_is_left_out_is_counted() -> None:
    async with world() as api:
        for number in range(3):
            dead_event(api, number)
        body = {"reason": "schema", "why": "mended", "dry_run": False, "limit": 2}
        told = (await api.post("/letters/replay", json=body)).json()

        assert told["done"] == 2
        assert any("--resume" in each for each in told["remarks"])
        nothing = (await api.post("/letters/replay", json={**body, "reason": "none"})).json()
        assert (nothing["done"], nothing["remarks"]) == (
            0,
            ["no dead letter is meant: nothing is left to do"],
        )


async def test_a_dropped_letter_is_noted_with_its_reason() -> None:
    async with world() as api:
        place = dead_event(api)
        refused = await api.post("/letters/drop", json={"places": [place]})
        body = {"places": [place], "why": "spam", "dry_run": False}
        told = await api.post("/letters/drop", json=body)
        shown = (await api.get(f"/letters/{place}")).json()

        assert refused.status_code == 422
        assert told.json()["done"] == 1
        assert (shown["handled"]["action"], shown["handled"]["why"]) == ("drop", "spam")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": True},
        {"places": ["x"], "all": True, "why": "x"},
        {"places": ["a", "b"]},
        {"all": True, "why": "x", "where": "nonsense((", "dry_run": True},
        {"all": True, "why": "x", "since": "yesterday"},
        {"all": True, "why": "x", "rate": "fast"},
        {"places": ["cw.events.dlq/0/0"], "edit": 1, "patch": {"a": 1}},
        {"all": True, "why": "x", "limit": 10_000},
    ],
)
async def test_an_order_about_letters_that_means_nothing_is_refused(body: Any) -> None:
    async with world() as api:
        told = await api.post("/letters/replay", json=body)

        assert told.status_code in (409, 422), told.text


async def test_a_key_of_a_tenant_replays_its_own_letters_only() -> None:
    async with world(gate=keyed()) as api:
        mine, theirs = dead_event(api, 0, "acme"), dead_event(api, 1, "other")
        by_name = await api.post(
            "/letters/replay", json={"places": [theirs]}, headers=bearer("acme")
        )
        other = {"all": True, "why": "x", "tenant": "other"}
        by_filter = await api.post("/letters/replay", json=other, headers=bearer("acme"))
        told = await api.post(
            "/letters/replay", json={"all": True, "why": "x"}, headers=bearer("acme")
        )

        assert (by_name.status_code, by_filter.status_code) == (404, 403)
        assert [each["id"] for each in told.json()["letters"]] == [mine]
        assert (await api.get(f"/letters/{theirs}", headers=bearer("acme"))).status_code == 404


async def test_more_than_two_replays_at_once_are_told_to_come_later() -> None:
    async with world() as api:
        for number in range(20):
            dead_event(api, number)
        body = {"all": True, "why": "x", "dry_run": False, "rate": "20/s"}
        told = await asyncio.gather(
            *(api.post("/letters/replay", json={**body, "limit": 10}) for _ in range(4))
        )

        assert sorted(each.status_code for each in told)[2:] == [409, 409]
