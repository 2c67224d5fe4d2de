"""`POST /events`: CloudEvents in three modes, and 202 only once Kafka has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseworks.api.binding import event_id_of
from events.broker import DeliveryReport, Message, Record
from events.envelope import read_event
from events.errors import RetriableError
from events.memory import MemoryBroker
from events.memory.producers import MemoryProducer
from schemas.event import case_id_of
from tests.unit.api_world import World, bearer, keyed, world

pytestmark = pytest.mark.anyio
LAMP = {"item": "lamp", "price": 40.5}
BINARY = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "shop/web",
    "ce-type": "order.placed",
}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def envelope(**fields: Any) -> dict[str, Any]:
    known = {"specversion": "1.0", "id": "1", "source": "shop/web", "type": "order.placed"}
    return {**known, "data": LAMP, **fields}


async def published(api: World) -> list[Message]:
    return api.records(api.settings.topics.events)


async def test_a_binary_event_is_published_as_it_came() -> None:
    async with world() as api:
        told = await api.post(
            "/events", content=json.dumps(LAMP), headers={**BINARY, "ce-subject": "caf%C3%A9"}
        )
        [message] = await published(api)
        event = read_event(message, 10_000)

        case_id = case_id_of("shop/web", "1")
        assert told.status_code == 202
        assert told.json() == {
            "id": "1",
            "source": "shop/web",
            "type": "order.placed",
            "case_id": case_id,
        }
        assert told.headers["location"] == f"/api/v1/cases/{case_id}"
        assert (event.subject, event.data, message.key) == ("café", LAMP, "café".encode())
        assert message.value == json.dumps(LAMP).encode()


async def test_a_structured_event_is_the_same_event() -> None:
    async with world() as api:
        said = envelope(subject="s", time="2026-01-31T12:00:00Z", priority="urgent", other=1)
        told = await api.post("/events", content=json.dumps(said), headers=STRUCTURED)
        [message] = await published(api)
        event = read_event(message, 10_000)

        assert told.status_code == 202
        assert (event.id, event.subject, event.priority, event.data) == ("1", "s", "urgent", LAMP)
        assert message.header("ce_time") == "2026-01-31T12:00:00.000000Z"


async def test_a_batch_is_published_whole() -> None:
    async with world() as api:
        said = [envelope(id=str(number)) for number in range(3)]
        told = await api.post("/events", content=json.dumps(said), headers=BATCH)

        assert told.status_code == 202
        assert [each["id"] for each in told.json()["events"]] == ["0", "1", "2"]
        assert len(await published(api)) == 3


async def test_one_bad_event_keeps_its_whole_batch_out() -> None:
    async with world() as api:
        said = [envelope(), envelope(id="2", data={"item": "lamp"}), "nonsense"]
        told = await api.post("/events", content=json.dumps(said), headers=BATCH)

        assert told.status_code == 422
        assert [(each["index"], each["reason"]) for each in told.json()["errors"]] == [
            (1, "schema"),
            (2, "not_json"),
        ]
        assert await published(api) == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{", BINARY, 422, "not_json"),
        (b'"\xff"', BINARY, 422, "not_utf8"),
        (b"{}", BINARY, 422, "schema"),
        (b'{"item": "x", "price": NaN}', BINARY, 422, "not_json"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-type": "nobody.knows"}, 422, "unknown_type"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-type": "order.paid"}, 422, "no_subject"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-id": ""}, 422, "missing_attribute"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-specversion": "0.3"}, 422, "bad_attribute"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-time": "soon"}, 422, "bad_attribute"),
        (json.dumps(LAMP).encode(), {**BINARY, "ce-subject": "%ff"}, 422, "bad_attribute"),
        (b"{", STRUCTURED, 400, None),
        (b"[]", STRUCTURED, 422, "not_json"),
        (b"[]", BATCH, 422, None),
        (json.dumps(envelope(data_base64="aGk=")).encode(), STRUCTURED, 422, "not_json"),
        (json.dumps(envelope(subject={"a": 1})).encode(), STRUCTURED, 422, "bad_attribute"),
        (json.dumps(envelope(subject="\ud800")).encode(), STRUCTURED, 400, None),
        (b"x", {**BINARY, "content-type": "text/plain"}, 415, None),
    ],
)
async def test_what_intake_would_refuse_is_refused_before_it_is_published(
    body: bytes, headers: dict[str, str], status: int, reason: str | None
) -> None:
    async with world() as api:
        told = await api.post("/events", content=body, headers=headers)

        assert (told.status_code, told.json().get("reason")) == (status, reason)
        assert told.headers["content-type"] == "application/problem+json"
        assert await published(api) == []


async def test_an_idempotency_key_stands_for_one_event_also_after_a_restart() -> None:
    broker = MemoryBroker()
    headers = {k: v for k, v in BINARY.items() if k != "ce-id"} | {"idempotency-key": "k1"}
    ids = []
    for _ in range(2):
        async with world(broker=broker) as api:
            for _ in range(2):
                told = await api.post("/events", content=json.dumps(LAMP), headers=headers)
                assert told.status_code == 202
                ids.append(told.json()["id"])
            records = await published(api)

    assert set(ids) == {event_id_of("developer", "k1", 0)}
    assert len(records) == 2  # once for each process, which are one event to intake
    assert told.headers["idempotent-replayed"] == "true"


async def test_an_idempotency_key_does_not_stand_for_another_body() -> None:
    async with world() as api:
        headers = {**BINARY, "idempotency-key": "k1"}
        await api.post("/events", content=json.dumps(LAMP), headers=headers)
        told = await api.post("/events", content=json.dumps({**LAMP, "price": 1}), headers=headers)

        assert told.status_code == 422
        assert "stands for another request" in told.json()["detail"]
        assert len(await published(api)) == 1


async def test_a_request_that_was_refused_does_not_use_its_key_up() -> None:
    async with world() as api:
        headers = {**BINARY, "idempotency-key": "k1"}
        wrong = await api.post("/events", content='{"item": "lamp"}', headers=headers)
        right = await api.post("/events", content=json.dumps(LAMP), headers=headers)

        assert (wrong.status_code, right.status_code) == (422, 202)


async def test_a_key_of_a_tenant_publishes_for_it_alone() -> None:
    async with world(gate=keyed()) as api:
        body = json.dumps(LAMP)
        mine = await api.post("/events", content=body, headers={**BINARY, **bearer("acme")})
        other = {**BINARY, **bearer("acme"), "ce-tenant": "other"}
        theirs = await api.post("/events", content=body, headers=other)

        assert (mine.status_code, theirs.status_code) == (202, 403)
        [message] = await published(api)
        assert message.header("ce_tenant") == "acme"


class Refusing(MemoryProducer):
    """Reports that a record was given up."""

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        if on_delivery is not None:
            on_delivery(RetriableError("given up"))


class Silent(MemoryProducer):
    """Takes records, and never reports."""

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        return


class Full(MemoryProducer):
    """Has no room for another record."""

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        raise RetriableError("full")


class Unwell(MemoryBroker):
    """A broker whose producers are all of one kind."""

    def __init__(self, kind: type[MemoryProducer]) -> None:
        super().__init__()
        self.kind = kind

    def producer(self, *, ordered: bool = True) -> MemoryProducer:
        return self.kind(super().producer()._link)


@pytest.mark.parametrize(
    ("kind", "says"),
    [(Refusing, "did not take it"), (Silent, "did not acknowledge"), (Full, "too much")],
)
async def test_what_kafka_did_not_acknowledge_is_not_accepted(
    kind: type[MemoryProducer], says: str
) -> None:
    async with world(broker=Unwell(kind), api_ack_timeout_s=0.05) as api:
        told = await api.post("/events", content=json.dumps(LAMP), headers=BINARY)

        assert told.status_code == 503
        assert says in told.json()["detail"]
        assert told.headers["retry-after"] == "1"


async def test_the_same_key_may_be_sent_again_after_a_failure() -> None:
    async with world(broker=Unwell(Refusing)) as api:
        headers = {**BINARY, "idempotency-key": "k1"}
        told = [
            (await api.post("/events", content=json.dumps(LAMP), headers=headers)).status_code
            for _ in range(2)
        ]

        assert told == [503, 503]
