"""Routes of operation: the overview, lag, budgets, breakers, and who one is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from caseworks import fleet
from caseworks.api.agents import Ordered
from caseworks.api.auth import ROLES, Caller
from caseworks.api.cases import Strict, Time, aware
from caseworks.api.documents import documented
from caseworks.api.parts import Parts, answer, caller_of
from caseworks.api.problems import Problem
from caseworks.projection.views import Behind, Overview, SpendLine
from events.errors import CaseworksError
from schemas.base import instant
from schemas.control import Breaker, BreakerOrder, BreakerOrdered

if TYPE_CHECKING:
    from caseworks.lag import LagReport, Surveyor

LAG_KEPT_S = 2.0
"""How old a report of the lag may be: nobody makes the broker count more often."""
ANYTHING: dict[str, Any] = {"type": "object", "additionalProperties": True}

Dependency = Annotated[str, Field(max_length=100)]
_STATES: dict[BreakerOrdered, str] = {"open": "open", "close": "closed"}


class Me(BaseModel):
    """Who asks."""

    name: str
    roles: list[str]
    tenant: str | None = None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent since a time, the most first."""

    by: str
    since: str
    items: list[SpendLine]
    next: str | None = None


class BreakerPage(msgspec.Struct, frozen=True, kw_only=True):
    """The breakers that ever moved, open ones first."""

    items: list[dict[str, Any]]
    next: str | None = None


class OrderBody(Strict):
    """Why."""

    why: Annotated[str, Field(max_length=1_000)] = ""


class LagBook:
    """The newest report of the lag; several who ask at once share one. Blocks while it is made."""

    def __init__(self, make: Callable[[], Surveyor]) -> None:
        self._make = make
        self._lock = Lock()
        self._surveyor: Surveyor | None = None
        self._report: LagReport | None = None
        self._until = 0.0

    def report(self) -> LagReport:
        """At most `LAG_KEPT_S` old. Raises `CaseworksError` when the broker does not say."""
        with self._lock:
            if self._report is not None and monotonic() < self._until:
                return self._report
            if self._surveyor is None:
                self._surveyor = self._make()
            try:
                self._report = self._surveyor.look()
            except CaseworksError:
                self._let_go()
                raise
            self._until = monotonic() + LAG_KEPT_S
            return self._report

    def close(self) -> None:
        """Free its clients."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._surveyor is not None:
            with suppress(CaseworksError):
                self._surveyor.close()
        self._surveyor = None


def routes(parts: Parts, lag: LagBook) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(tags=["operation"])
    _looks(router, parts, lag)
    _orders(router, parts)

    @router.get("/me", **documented(Me))
    async def me(request: Request) -> Response:
        """Who one is, and what one may."""
        caller = caller_of(request)
        roles: list[str] = [role for role in ROLES if caller.may(role)]
        return answer(Me(name=caller.name, roles=roles, tenant=caller.tenant))

    for name in ("attention", "insight"):
        router.add_api_route(f"/{name}", _extra(parts, name), **documented(ANYTHING))
    return router


def _looks(router: APIRouter, parts: Parts, lag: LagBook) -> None:
    @router.get("/overview", **documented(Overview))
    async def overview(request: Request) -> Response:
        """How everything stands, at a glance."""
        _reads_all(caller_of(request))
        return answer(await parts.looked_up(lambda: parts.read.overview(parts.clock())))

    @router.get("/projection", **documented(Behind))
    async def projection(request: Request) -> Response:
        """How far behind Kafka the answers of this API are."""
        caller_of(request).need("read")
        return answer(await parts.looked_up(parts.read.behind))

    @router.get("/lag", **documented(ANYTHING))
    async def show_lag(request: Request) -> Response:
        """How far behind each consumer group is: records, work, tokens, money."""
        _reads_all(caller_of(request))
        report = await parts.waited_for(lag.report)
        return answer(report.as_json())

    @router.get("/budgets", **documented(Spent))
    async def budgets(
        request: Request,
        by: Annotated[Literal["agent", "workflow", "tenant"], Query()] = "agent",
        since: Time = None,
    ) -> Response:
        """What was spent since a time; by default since midnight, UTC."""
        caller = caller_of(request)
        caller.need("read")
        if by != "tenant":
            caller.need_all_tenants()
        now = instant(parts.clock())
        start = aware(since) or now.replace(hour=0, minute=0, second=0, microsecond=0)
        if start > now + timedelta(days=1):
            raise Problem("invalid", "`since` has not come yet")
        items = await parts.looked_up(
            lambda: parts.read.spend(by, start, tenant=caller.tenant if by == "tenant" else None)
        )
        since_text = start.isoformat().replace("+00:00", "Z")
        return answer(Spent(by=by, since=since_text, items=items))


def _orders(router: APIRouter, parts: Parts) -> None:
    @router.get("/breakers", **documented(BreakerPage))
    async def list_breakers(request: Request) -> Response:
        """The breakers of the fleet, those that let nothing through first."""
        _reads_all(caller_of(request))
        found = await parts.looked_up(lambda: fleet.decisions(parts.broker, parts.settings))
        items = [each.model_dump(mode="json") for each in fleet.breakers(found.values())]
        return answer(BreakerPage(items=items))

    @router.post("/breakers/{dependency}/{order}", **documented(Ordered))
    async def order_breaker(
        request: Request,
        dependency: Dependency,
        order: BreakerOrdered,
        body: OrderBody | None = None,
    ) -> Response:
        """Open or close a breaker, hold it as it is, or release it."""
        caller = caller_of(request)
        caller.need("operate")
        caller.need_all_tenants()
        why = body.why if body else ""
        return await parts.waited_for(lambda: _order(parts, caller, dependency, order, why))


def _order(
    parts: Parts, caller: Caller, dependency: str, order: BreakerOrdered, why: str
) -> Response:
    known = fleet.decisions(parts.broker, parts.settings)
    place = f"breaker:{dependency}"
    called = {name for agent in parts.app.agents.values() for name in agent.spec.calls}
    if dependency not in called and place not in known:
        raise Problem("not-found", f"nothing here calls {dependency}")
    asked = BreakerOrder(dependency=dependency, order=order, by=caller.name, why=why)
    decided = fleet.order(parts.broker, parts.settings, asked, parts.clock(), parts.order_timeout_s)
    standing = decided or known.get(place)
    if isinstance(standing, Breaker) and _holds(standing, order):
        return answer(Ordered(decided=standing))
    return answer(Ordered(), 202)


def _holds(breaker: Breaker, order: BreakerOrdered) -> bool:
    """Whether it is as somebody wanted it."""
    if order in ("hold", "release"):
        return breaker.held == (order == "hold")
    return breaker.state == _STATES[order]


def _extra(parts: Parts, name: str) -> Callable[[Request], Any]:
    async def tell(request: Request) -> Response:
        _reads_all(caller_of(request))
        found = parts.extras.get(name)
        if found is None:
            raise Problem("not-found", f"{name} is not told by this installation")
        return answer(await parts.looked_up(found))

    tell.__doc__ = {
        "attention": "What a person should look at now, each with the command that mends it.",
        "insight": "How agents and workflows do, and what they save.",
    }[name]
    tell.__name__ = name
    return tell


def _reads_all(caller: Caller) -> None:
    caller.need("read")
    caller.need_all_tenants()
