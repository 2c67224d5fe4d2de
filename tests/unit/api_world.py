"""An API on the broker in memory, with a projection that tests fill by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel

from caseworks import App, Wait
from caseworks.api.app import Api, create_api
from caseworks.api.auth import Gate
from caseworks.api.keys import Key, hash_of
from caseworks.api.parts import By, State
from caseworks.compose import build
from caseworks.projection.views import (
    ApprovalView,
    Behind,
    CaseLine,
    CaseView,
    EventView,
    LetterView,
    Overview,
    Pace,
    Page,
    SpendLine,
    UsageView,
)
from caseworks.scan import partition_counts, partitions_of
from caseworks.scan import records as read_records
from events import metrics
from events.broker import Message
from events.memory import MemoryBroker
from events.settings import Settings

NOW = 1_790_000_000.0
AT = "2026-09-21T14:13:20Z"


class Order(BaseModel):
    """The data of an order."""

    item: str
    price: float


def shop() -> App:
    """One agent that may be asked alone, one that may not, and a step that waits."""
    app = App("shop")

    @app.agent(direct=True, calls=["model"])
    async def price_check(order: Order) -> str:
        return "high" if order.price > 100 else "low"

    @app.agent()
    async def ship(order: Order, price_check: str, paid: dict[str, Any]) -> str:
        return f"{order.item}: {price_check}, {paid}"

    app.workflow(
        "order",
        on={"order.placed": Order},
        steps=[price_check, Wait("order.paid", timeout_s=60, name="paid"), ship],
    )
    return app


@dataclass
class FakeReader:
    """See `caseworks.api.parts.Reader`."""

    known: dict[str, CaseView] = field(default_factory=dict)
    asked: dict[str, ApprovalView] = field(default_factory=dict)
    dead: list[LetterView] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    behind_s: float = 0.0

    def behind(self) -> Behind:
        return Behind(records=0, seconds=self.behind_s, updated_at=AT, ready=True)

    def case(self, case_id: str) -> CaseView | None:
        return self.known.get(case_id)

    def cases(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        tenant: str | None = None,
        subject: str | None = None,
        q: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[CaseLine]:
        lines = self.lines(list(self.known))
        mine = [each for each in lines if tenant is None or each.tenant == tenant]
        return Page(items=[each for each in mine if status in (None, each.status)][:limit])

    def lines(self, case_ids: Sequence[str]) -> list[CaseLine]:
        return [line_of(self.known[each]) for each in case_ids if each in self.known]

    def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        case_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ApprovalView]:
        found = [
            each
            for each in self.asked.values()
            if (each.status == "open" or not open_only) and tenant in (None, each.tenant)
        ]
        return Page(items=found[:limit])

    def approval(self, approval_id: str) -> ApprovalView | None:
        return self.asked.get(approval_id)

    def letters(
        self,
        *,
        agent: str | None = None,
        reason: str | None = None,
        topic: str | None = None,
        tenant: str | None = None,
        case_id: str | None = None,
        state: State | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[LetterView]:
        return Page(items=[each for each in self.dead if tenant in (None, each.tenant)][:limit])

    def overview(self, now: float | None = None) -> Overview:
        return Overview(
            at=AT,
            cases_open=len(self.known),
            by_status={},
            per_second=Pace(opened=[0] * 60, closed=[0] * 60),
            p50_ms=None,
            p99_ms=None,
            usd_today="0",
            usd_per_hour="0",
            approvals_open=0,
            approvals_expiring=0,
            letters_waiting=0,
            breakers=[],
            agents=[],
            behind=self.behind(),
        )

    def spend(self, by: By, since: datetime, *, tenant: str | None = None) -> list[SpendLine]:
        line = SpendLine(
            key=tenant or "price-check", usd="0.5", tokens_in=1, tokens_out=1, calls=1, cases=1
        )
        return [line]

    def changes(self, after: int, limit: int = 1000) -> tuple[int, list[str]]:
        newest = len(self.changed)
        if after < 0 or after > newest:
            return newest, []
        return newest, self.changed[after:newest][:limit]

    def change(self, case: CaseView) -> None:
        """The case is now as this says."""
        self.known[case.case_id] = case
        self.changed.append(case.case_id)


def case(case_id: str = "c1", **fields: Any) -> CaseView:
    """A case that is open."""
    known: dict[str, Any] = {
        "case_id": case_id,
        "workflow": "order",
        "workflow_version": "1",
        "status": "open",
        "tenant": None,
        "subject": "s",
        "event": EventView(id="1", source="shop", type="order.placed", time=AT, data={"a": 1}),
        "opened_at": AT,
        "closed_at": None,
        "deadline": AT,
        "reason": None,
        "output": None,
        "confidence": None,
        "usage": UsageView(),
        "trace_id": None,
        "degraded": {},
        "undone": {},
        "steps": [],
        "timeline": [],
        "results": [],
        "approvals": [],
        "letters": [],
    }
    return CaseView(**{**known, **fields})


def line_of(case: CaseView) -> CaseLine:
    """A case as lists have it."""
    return CaseLine(
        case_id=case.case_id,
        workflow=case.workflow,
        status=case.status,
        tenant=case.tenant,
        subject=case.subject,
        type=case.event.type if case.event else None,
        opened_at=case.opened_at,
        closed_at=case.closed_at,
        ms=None,
        usd="0",
        confidence=case.confidence,
        degraded=False,
        updated_at=AT,
    )


class FakeKeys:
    """Keys without a file: each role has a key of its name, and `acme` one of a tenant."""

    def __init__(self, *more: Key) -> None:
        roles: tuple[Any, ...] = ("publish", "read", "decide", "operate")
        own = [Key(name=role, sha256=hash_of(role), roles=(role,)) for role in roles]
        acme = Key(name="acme", sha256=hash_of("acme"), roles=roles, tenant="acme")
        self.keys = [*own, acme, *more]

    def find(self, secret: str) -> Key | None:
        return next((key for key in self.keys if key.sha256 == hash_of(secret)), None)


def keyed(*more: Key) -> Gate:
    """A gate with `FakeKeys`."""
    return Gate(keys=FakeKeys(*more))


def bearer(name: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {name}"}


@dataclass
class World:
    """One API, and what stands around it."""

    api: Api
    broker: MemoryBroker
    reader: FakeReader
    client: httpx.AsyncClient
    settings: Settings

    def records(self, topic: str) -> list[Message]:
        """Everything on a topic."""
        reader = self.broker.reader()
        sources = partitions_of(partition_counts(self.broker), [topic])
        return [message for source in sources for message in read_records(reader, source)]

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.client.get(f"/api/v1{path}", **more)

    async def post(self, path: str, **more: Any) -> httpx.Response:
        return await self.client.post(f"/api/v1{path}", **more)


@asynccontextmanager
async def world(
    *,
    gate: Gate | None = None,
    broker: MemoryBroker | None = None,
    app: App | None = None,
    clock: Callable[[], float] = lambda: NOW,
    extras: Mapping[str, Callable[[], Any]] | None = None,
    telemetry: metrics.Telemetry = metrics.NULL,
    order_timeout_s: float = 0.05,
    **settings: Any,
) -> AsyncIterator[World]:
    """An API that serves, and a client of it."""
    made = Settings(
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=2,
        results_partitions=2,
        **settings,
    )
    broker = broker or MemoryBroker()
    system = build(app or shop(), made, broker=broker, clock=clock, telemetry=telemetry)
    system.ensure_topics()
    reader = FakeReader()
    api = create_api(system, reader, gate=gate, extras=extras, order_timeout_s=order_timeout_s)
    transport = httpx.ASGITransport(api.asgi)
    async with (
        api.framework.router.lifespan_context(api.framework),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield World(api, broker, reader, client, made)


async def until(done: Callable[[], object]) -> None:
    """Poll until it is so."""
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - what other threads do sets no event
            await asyncio.sleep(0.01)
