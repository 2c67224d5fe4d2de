"""Cases and tasks over HTTP: commands, feedback, agents asked alone, pauses and breakers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

from caseworks.app import App
from caseworks.compose import build
from events.dead_letters import dead_letter_record, letter_for
from events.memory import MemoryBroker
from events.settings import Settings
from schemas.commands import Cancel, Signal
from schemas.control import PauseOrder
from schemas.feedback import Feedback
from tests.unit.api_world import AT, Order, World, bearer, case, keyed, shop, until, world

pytestmark = pytest.mark.anyio
LAMP = {"item": "lamp", "price": 140}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- cases


@pytest.mark.parametrize("what", ["cancel", "signal", "feedback"])
async def test_a_case_that_never_was_cannot_be_told_anything(what: str) -> None:
    async with world() as api:
        body = {"cancel": {}, "signal": {"name": "x"}, "feedback": {"rating": 1}}[what]
        told = await api.post(f"/cases/never-was/{what}", json=body)

        assert told.status_code == 404
        assert api.records(api.settings.topics.inbox) == []


@pytest.mark.parametrize("what", ["cancel", "signal"])
async def test_a_case_that_has_ended_is_told_nothing_more(what: str) -> None:
    async with world() as api:
        api.reader.change(case("c1", status="completed"))
        told = await api.post(f"/cases/c1/{what}", json={"name": "x"} if what == "signal" else {})

        assert (told.status_code, told.json()["status_now"]) == (409, "completed")
        assert api.records(api.settings.topics.inbox) == []


async def test_a_case_is_stopped_in_the_name_of_who_asked() -> None:
    async with world(gate=keyed()) as api:
        api.reader.change(case("c1"))
        told = await api.post("/cases/c1/cancel", json={"reason": "x"}, headers=bearer("operate"))
        [message] = api.records(api.settings.topics.inbox)

        assert (told.status_code, told.headers["location"]) == (202, "/api/v1/cases/c1")
        assert Cancel.from_json(message.value or b"") == Cancel(
            case_id="c1", reason="x", by="operate"
        )
        assert message.header("ce_type") == "caseworks.cancel"


async def test_a_signal_under_one_key_counts_once() -> None:
    async with world() as api:
        api.reader.change(case("c1"))
        for _ in range(2):
            told = await api.post(
                "/cases/c1/signal",
                json={"name": "order.paid", "data": {"usd": 4}},
                headers={"Idempotency-Key": "k1"},
            )
            assert told.status_code == 202
        sent = [Signal.from_json(m.value or b"") for m in api.records(api.settings.topics.inbox)]

        assert [(each.name, each.data) for each in sent] == [("order.paid", {"usd": 4})] * 2
        assert len({each.signal_id for each in sent}) == 1


async def test_feedback_is_a_record_of_its_own() -> None:
    async with world() as api:
        api.reader.change(case("c1", status="completed", tenant="acme"))
        body = {"rating": 2, "correction": {"refund": 10}, "note": "too much"}
        told = await api.post("/cases/c1/feedback", json=body)
        [message] = api.records(api.settings.topics.feedback)
        said = Feedback.from_json(message.value or b"")

        assert told.status_code == 202
        assert (said.case_id, said.rating, said.tenant, said.by) == ("c1", 2, "acme", "developer")
        assert (said.correction, said.note) == ({"refund": 10}, "too much")
        assert (message.key, message.header("ce_id")) == (b"c1", told.json()["id"])


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 6}, {"rating": "x"}, {"rate": 3}, {"note": "x" * 5000}]
)
async def test_feedback_that_says_nothing_or_too_much_is_refused(body: Any) -> None:
    async with world() as api:
        api.reader.change(case("c1"))

        assert (await api.post("/cases/c1/feedback", json=body)).status_code == 422


HALF = '"half of a character: \\ud800"'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cases/c1/feedback", f'{{"correction": {HALF}}}'),
        ("/cases/c1/signal", f'{{"name": "paid", "data": {{{HALF}: 1}}}}'),
        ("/agents/price-check/tasks", f'{{"item": {HALF}, "price": 1}}'),
        ("/agents/price-check/process", f'{{"item": {HALF}, "price": 1}}'),
        ("/letters/replay", f'{{"places": ["cw.events.dlq:0:0"], "edit": {HALF}}}'),
        ("/letters/replay", f'{{"places": ["cw.events.dlq:0:0"], "patch": {HALF}}}'),
        (
            "/approvals/c1:x/decision",
            f'{{"decision": "correct", "action_hash": "x", "output": {HALF}}}',
        ),
    ],
)
async def test_text_that_no_message_can_hold_is_refused(path: str, body: str) -> None:
    async with world() as api:
        api.reader.change(case("c1"))
        told = await api.post(path, content=body, headers={"Content-Type": "application/json"})

        assert (told.status_code, told.json()["type"]) == (422, "urn:caseworks:problem:invalid")


# --- agents asked alone


@contextmanager
def at_work(broker: MemoryBroker, app: App) -> Iterator[None]:
    """A coordinator and a worker on threads, as they would be processes."""
    settings = Settings(
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=2,
        results_partitions=2,
        breaker_ramp_s=0,
    )
    stop = Flag()
    systems = [build(app, settings, broker=broker) for _ in range(2)]
    systems[0].ensure_topics()
    threads = [
        Thread(target=systems[0].run_coordinator, args=(stop,)),
        Thread(target=systems[1].run_worker, args=(sorted(app.agents), stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def ready(api: World) -> None:
    await until(lambda: not api.api.parts.waiting.trouble)


def two_agents() -> App:
    """Two agents that may be asked alone."""
    app = App("two")

    @app.agent(direct=True)
    async def price_check(order: Order) -> str:
        return order.item

    @app.agent(direct=True)
    async def stock(order: Order) -> str:
        return order.item

    return app


async def test_an_agent_answers_whoever_waits() -> None:
    broker, app = MemoryBroker(), shop()
    with at_work(broker, app):
        async with world(broker=broker, app=app) as api:
            await ready(api)
            told = await api.post("/agents/price-check/process?timeout_s=20", json=LAMP)

    assert told.status_code == 200, told.text
    found = told.json()
    assert (found["agent"], found["status"], found["output"]) == (
        "price-check",
        "completed",
        "high",
    )


async def test_who_does_not_want_to_wait_is_told_where_to_look() -> None:
    async with world() as api:
        told = await api.post(
            "/agents/price-check/process", json=LAMP, headers={"Prefer": "wait=0"}
        )
        task_id = told.json()["task_id"]
        first = await api.get(f"/tasks/{task_id}")
        api.reader.change(case(task_id, status="completed", output="high"))
        second = await api.get(f"/tasks/{task_id}")

        assert told.status_code == 202
        assert told.headers["location"] == f"/api/v1/tasks/{task_id}"
        assert (first.json()["status"], second.json()["status"]) == ("accepted", "completed")
        assert second.json()["output"] == "high"


async def test_a_task_is_an_event_of_the_agents_own_type() -> None:
    async with world() as api:
        told = await api.post("/agents/price-check/tasks", json=LAMP)
        [message] = api.records(api.settings.topics.events)

        assert told.status_code == 202
        assert message.header("ce_type") == "caseworks.agent.price-check"
        assert message.header("ce_source") == "caseworks/api"


async def test_a_task_under_one_key_is_one_task() -> None:
    async with world() as api:
        headers = {"Idempotency-Key": "k1"}
        told = [
            await api.post("/agents/price-check/tasks", json=LAMP, headers=headers)
            for _ in range(2)
        ]
        other = await api.post(
            "/agents/price-check/tasks", json={**LAMP, "price": 1}, headers=headers
        )
        task_id = told[0].json()["task_id"]
        api.reader.change(case(task_id, status="completed", output="high"))
        known = await api.post("/agents/price-check/process", json=LAMP, headers=headers)

        assert told[1].json()["task_id"] == task_id
        assert other.status_code == 422
        assert (known.status_code, known.json()["output"]) == (200, "high")


@pytest.mark.parametrize(
    ("agent", "body", "status"),
    [
        ("nobody", LAMP, 404),
        ("ship", LAMP, 404),
        ("price-check", {"item": "lamp"}, 422),
        ("price-check", [], 422),
    ],
)
async def test_what_an_agent_cannot_be_asked_is_refused(agent: str, body: Any, status: int) -> None:
    async with world() as api:
        for way in ("tasks", "process"):
            told = await api.post(f"/agents/{agent}/{way}", json=body)
            assert told.status_code == status
        assert api.records(api.settings.topics.events) == []


async def test_the_same_key_for_two_agents_is_two_tasks() -> None:
    async with world(app=two_agents()) as api:
        headers = {"Idempotency-Key": "k1"}
        told = [
            (await api.post(f"/agents/{agent}/tasks", json=LAMP, headers=headers)).json()["task_id"]
            for agent in ("price-check", "stock")
        ]

        assert len(set(told)) == 2


async def test_the_task_of_another_tenant_is_not_answered() -> None:
    async with world(gate=keyed()) as api:
        headers = {**bearer("acme"), "Idempotency-Key": "k1"}
        told = await api.post("/agents/price-check/tasks", json=LAMP, headers=headers)
        task_id = told.json()["task_id"]
        api.reader.change(case(task_id, status="completed", tenant="other", output="theirs"))
        known = await api.post(
            "/agents/price-check/process?timeout_s=0", json=LAMP, headers=headers
        )

        assert "theirs" not in known.text


async def test_an_event_that_intake_refuses_after_all_ends_the_wait() -> None:
    async with world() as api:
        await ready(api)
        waits = asyncio.create_task(api.post("/agents/price-check/process?timeout_s=20", json=LAMP))
        await until(lambda: api.records(api.settings.topics.events))
        found = api.records(api.settings.topics.events)
        topics = api.settings.topics
        letter = letter_for(
            found[0], "schema", error="data: no", error_type="PayloadError", group="cw.intake"
        )
        producer = api.broker.producer()
        producer.produce(dead_letter_record(found[0], topics.dlq(topics.events), letter))
        producer.flush(5)
        told = await waits

        assert (told.status_code, told.json()["reason"]) == (422, "schema")


# --- fleet


async def test_agents_are_listed_with_what_they_read() -> None:
    async with world() as api:
        items = (await api.get("/agents")).json()["items"]

        assert [(each["agent"], each["direct"]) for each in items] == [
            ("price-check", True),
            ("ship", False),
        ]
        assert items[0]["input_schema"]["required"] == ["item", "price"]


async def test_an_agent_without_workers_says_so() -> None:
    async with world() as api:
        told = (await api.get("/agents/price-check/health")).json()

        assert (told["status"], told["workers"], told["calls"]) == ("no_workers", 0, ["model"])
        assert (await api.get("/agents/nobody/health")).status_code == 404


async def test_an_order_is_sent_even_when_nobody_decides_now() -> None:
    async with world(gate=keyed()) as api:
        told = await api.post(
            "/agents/price-check/pause", json={"why": "x"}, headers=bearer("operate")
        )
        [message] = api.records(api.settings.topics.requests)

        assert (told.status_code, told.json()) == (202, {"decided": None})
        assert PauseOrder.from_json(message.value or b"") == PauseOrder(
            agent="price-check", paused=True, by="operate", why="x"
        )


async def test_cases_are_read_while_many_orders_wait_for_the_controller() -> None:
    async with world(order_timeout_s=1.0) as api:
        orders = [asyncio.create_task(api.post("/agents/ship/pause")) for _ in range(40)]
        await until(lambda: api.records(api.settings.topics.requests))
        told = await api.get("/cases")

        assert told.status_code == 200
        assert not any(order.done() for order in orders)
        await asyncio.gather(*orders)


async def test_pauses_and_breakers_are_decided_by_the_controller() -> None:
    broker, app = MemoryBroker(), shop()
    with at_work(broker, app):
        async with world(broker=broker, app=app, order_timeout_s=10.0) as api:
            paused = await api.post("/agents/price-check/pause")
            health = await api.get("/agents/price-check/health")
            opened = await api.post("/breakers/model/open", json={"why": "maintenance"})
            breakers = await api.get("/breakers")
            resumed = await api.post("/agents/price-check/resume")

    assert (paused.status_code, paused.json()["decided"]["paused"]) == (200, True)
    assert health.json()["status"] == "paused"
    assert (opened.status_code, opened.json()["decided"]["state"]) == (200, "open")
    assert [each["dependency"] for each in breakers.json()["items"]] == ["model"]
    assert resumed.json()["decided"]["paused"] is False


async def test_a_key_of_a_tenant_sees_that_an_agent_is_paused_but_not_what_is_said_of_it() -> None:
    broker, app = MemoryBroker(), shop()
    with at_work(broker, app):
        async with world(broker=broker, app=app, gate=keyed(), order_timeout_s=10.0) as api:
            body = {"why": "of another customer"}
            await api.post("/agents/price-check/pause", json=body, headers=bearer("operate"))
            mine = await api.get("/agents/price-check/health", headers=bearer("acme"))
            all_ = await api.get("/agents/price-check/health", headers=bearer("read"))

    assert (mine.json()["status"], mine.json()["paused"]) == ("paused", None)
    assert all_.json()["paused"]["reason"] == "of another customer"


async def test_a_breaker_of_nothing_is_not_there() -> None:
    async with world() as api:
        assert (await api.post("/breakers/nothing/open")).status_code == 404
        assert (await api.post("/breakers/model/explode")).status_code == 422


async def test_lag_budgets_overview_and_who_one_is_are_told() -> None:
    async with world(extras={"attention": lambda: [{"what": "x"}]}) as api:
        lag = (await api.get("/lag")).json()
        budgets = (await api.get("/budgets")).json()

        assert {each["group"] for each in lag["groups"]} >= {"cw.intake", "cw.worker.price-check"}
        assert (budgets["by"], budgets["items"][0]["usd"]) == ("agent", "0.5")
        assert (await api.get("/overview")).json()["at"] == AT
        assert (await api.get("/projection")).json()["ready"] is True
        assert (await api.get("/attention")).json() == [{"what": "x"}]
        assert (await api.get("/insight")).status_code == 404
