"""The stream: one poller for all, chunks shared by wish, and bounded queues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from caseworks.api.auth import Caller
from caseworks.api.problems import Problem
from caseworks.api.stream import Client, Hub, Streams, Wish, wish_of
from events import metrics
from events.broker import ConsumerSpec, Record
from events.envelope import record_of
from events.errors import SetupError
from events.memory import MemoryBroker
from events.memory.consumer import MemoryConsumer
from events.settings import Settings
from schemas.alert import Alert
from schemas.base import instant
from tests.unit.api_world import NOW, FakeReader, case, until, world
from tests.unit.test_api_decisions import APPROVAL, view

pytestmark = pytest.mark.anyio
ANYBODY = Caller("anybody", frozenset({"operate"}))
ACME = Caller("acme", frozenset({"operate"}), tenant="acme")
CASES = Wish(frozenset({"cases"}))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def hub(**settings: Any) -> AsyncIterator[tuple[Hub, FakeReader]]:
    reader = FakeReader()
    made = Hub(reader, Settings(**settings), lambda: NOW, metrics.NULL)
    yield made, reader
    await made.close()


async def heard(client: Client, name: str) -> list[Any]:
    """The data of the next events of that name."""
    async with asyncio.timeout(10):
        while True:
            chunk = await client.next()
            assert chunk is not None
            blocks = chunk.decode().split("\n\n")
            found = [
                json.loads(block.partition("data: ")[2])
                for block in blocks
                if f": {name}\n" in block
            ]
            if found:
                return found


async def begun(made: Hub) -> None:
    """Until the hub knows where it begins."""
    await until(lambda: made._seq >= 0)


async def test_changes_of_cases_are_told_to_whom_they_concern() -> None:
    async with hub() as (made, reader):
        everything = made.join(CASES)
        one = made.join(Wish(frozenset({"case"}), frozenset({"c2"})))
        acme = made.join(Wish(frozenset({"cases"}), tenant="acme"))
        await begun(made)
        for name, tenant in (("c1", None), ("c2", "acme"), ("c1", None)):
            reader.change(case(name, tenant=tenant))

        assert [each["case_id"] for each in await heard(everything, "case")] == ["c1", "c2"]
        assert [each["case_id"] for each in await heard(one, "case")] == ["c2"]
        assert [each["case_id"] for each in await heard(acme, "case")] == ["c2"]


async def test_clients_of_one_wish_share_their_chunks() -> None:
    async with hub() as (made, reader):
        both = [made.join(CASES) for _ in range(2)]
        await begun(made)
        reader.change(case("c1"))
        await until(lambda: all(b"c1" in b"".join(client.waiting) for client in both))

        first, second = (client.waiting[-1] for client in both)
        assert first is second


async def test_a_stream_goes_on_where_it_ended() -> None:
    async with hub() as (made, reader):
        for number in range(3):
            reader.change(case(f"c{number}"))
        missed = await made.since(CASES, 1)

        assert missed.startswith(b"id: 3\nevent: case\n")
        assert [b"c1" in missed, b"c2" in missed, b"c0" in missed] == [True, True, False]
        assert await made.since(CASES, 99) == b""


async def test_the_overview_is_told_and_questions_when_they_come_and_end() -> None:
    async with hub() as (made, reader):
        client = made.join(Wish(frozenset({"overview", "approvals"})))
        acme = made.join(Wish(frozenset({"approvals"}), tenant="acme"))
        assert (await heard(client, "overview"))[0]["cases_open"] == 0
        await until(lambda: made._asked is not None)
        reader.asked[APPROVAL] = view()
        assert (await heard(client, "approval"))[0]["status"] == "open"
        reader.asked[APPROVAL] = view(status="approve")
        assert (await heard(client, "approval"))[0]["status"] == "approve"
        assert b"approval" not in b"".join(acme.waiting)


async def test_an_alert_is_told_at_once() -> None:
    async with hub() as (made, _):
        client = made.join(Wish(frozenset({"alerts"})))
        made.alert({"rule": "errors"})

        assert await heard(client, "alert") == [{"rule": "errors"}]


async def test_a_client_whose_queue_is_full_is_dropped_and_the_others_are_not() -> None:
    async with hub(api_stream_queue_max=2) as (made, _):
        slow, quick = (made.join(Wish(frozenset({"alerts"}))) for _ in range(2))
        for number in range(4):
            made.alert(number)
            await heard(quick, "alert")

        assert (slow.ended, await slow.next()) == ("full", None)
        assert made.open == 1


class Away(FakeReader):
    """A projection that fails at first."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tries = 0

    def changes(self, after: int, limit: int = 1000) -> tuple[int, list[str]]:
        self.tries += 1
        if self.tries < 3:
            raise self.error
        return super().changes(after, limit)


@pytest.mark.parametrize("error", [SetupError("away"), RuntimeError("nobody thought of it")])
async def test_a_projection_that_fails_ends_no_stream(error: Exception) -> None:
    reader = Away(error)
    made = Hub(reader, Settings(), lambda: NOW, metrics.NULL)
    client = made.join(CASES)
    await begun(made)
    reader.change(case("c1"))

    assert (await heard(client, "case"))[0]["case_id"] == "c1"
    await made.close()


async def test_a_stream_ends_after_a_while_so_that_its_key_is_looked_at_again() -> None:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with hub() as (made, _), asyncio.timeout(10):
        streams = Streams(made, Settings(), metrics.NULL, lasts_s=0.01)
        scope = {"caller": ANYBODY, "query_string": b"topics=cases", "headers": []}
        await streams(scope, receive, send)

        assert told[-1] == {"type": "http.response.body", "body": b""}
        assert made.open == 0


async def test_ten_thousand_streams_are_open_and_not_one_more() -> None:
    async with hub() as (made, _):
        wish = Wish(frozenset({"alerts"}))
        clients = [made.join(wish) for _ in range(10_000)]
        with pytest.raises(Problem, match="10000 streams are open already"):
            made.join(wish)
        made.alert({"rule": "x"})
        assert all(client.waiting for client in clients)

        made.leave(clients[0])
        made.join(wish)


@pytest.mark.parametrize(
    ("query", "topics", "cases"),
    [
        (b"", {"overview"}, set()),
        (b"topics=overview,cases", {"overview", "cases"}, set()),
        (b"topics=case%3Ac1,case%3Ac2", {"case"}, {"c1", "c2"}),
        (b"topics=approvals&topics=alerts", {"approvals", "alerts"}, set()),
    ],
)
def test_topics_are_read_from_the_query(query: bytes, topics: set[str], cases: set[str]) -> None:
    found = wish_of(query, ANYBODY)
    assert (set(found.topics), set(found.cases)) == (topics, cases)


@pytest.mark.parametrize(
    ("query", "caller"),
    [
        (b"topics=everything", ANYBODY),
        (b"topics=" + b",".join(b"case:%d" % n for n in range(51)), ANYBODY),
        (b"topics=overview", ACME),
        (b"topics=alerts", ACME),
    ],
)
def test_topics_that_are_none_or_not_theirs_are_refused(query: bytes, caller: Caller) -> None:
    with pytest.raises(Problem):
        wish_of(query, caller)


class Odd(MemoryBroker):
    """Fails in a way that nobody thought of when results are first read."""

    failed = False

    def consumer(self, spec: ConsumerSpec) -> MemoryConsumer:
        if ".reader." in spec.group and not self.failed:
            self.failed = True
            raise RuntimeError("nobody thought of it")
        return super().consumer(spec)


async def test_results_are_read_again_after_any_error() -> None:
    broker = Odd()
    async with world(broker=broker) as api:
        await until(lambda: not api.api.parts.waiting.trouble)

        assert broker.failed


async def test_alerts_of_analytics_reach_the_streams() -> None:
    async with world() as api:
        await until(lambda: not api.api.parts.waiting.trouble)
        client = api.api.hub.join(Wish(frozenset({"alerts"})))
        alert = Alert(
            alert_id="errors:workflow:order:1",
            rule="errors",
            scope="workflow:order",
            state="firing",
            value=0.5,
            threshold=0.05,
            samples=50,
            window_s=900,
            since=instant(NOW),
            at=instant(NOW),
            says="half of them",
        )
        junk = Record(api.settings.topics.alerts, b"errors", b"{")
        record = record_of(
            alert,
            alert.ce_type,
            topic=api.settings.topics.alerts,
            key="errors",
            ce_id="x",
            source="caseworks/cw",
            now=NOW,
        )
        producer = api.broker.producer()
        producer.produce(junk)
        producer.produce(record)
        producer.flush(5)

        assert (await heard(client, "alert"))[0]["says"] == "half of them"
