"""What the routes share, and how they answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from caseworks.api.auth import Caller
from caseworks.api.idempotency import Idempotency
from caseworks.api.outbox import Outbox
from caseworks.api.problems import Problem
from caseworks.api.publishing import Events
from caseworks.api.waiting import Waiting
from caseworks.app import App
from caseworks.inbox import PersonCommand, command_record
from caseworks.projection.views import (
    ApprovalView,
    Behind,
    CaseLine,
    CaseView,
    LetterView,
    Overview,
    Page,
    SpendLine,
)
from coordinator.intake import Intake
from events.broker import Broker
from events.dispatch import Clock
from events.envelope import is_hostile
from events.errors import PayloadError
from events.metrics import Telemetry
from events.settings import Settings

ACCEPTED_MAX = 10_000
"""Tasks that are remembered until the projection knows them."""
WORKERS = 16
"""Threads for what waits: orders, decisions, replays, reports of the lag."""
T = TypeVar("T")
By = Literal["agent", "workflow", "tenant"]
State = Literal["waiting", "replayed", "dropped"]


class Reader(Protocol):
    """What is asked of the projection; `caseworks.projection.read.ReadModel` answers it."""

    def behind(self) -> Behind: ...

    def case(self, case_id: str) -> CaseView | None: ...

    def cases(  # noqa: PLR0913
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
    ) -> Page[CaseLine]: ...

    def lines(self, case_ids: Sequence[str]) -> list[CaseLine]: ...

    def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        case_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ApprovalView]: ...

    def approval(self, approval_id: str) -> ApprovalView | None: ...

    def letters(  # noqa: PLR0913
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
    ) -> Page[LetterView]: ...

    def overview(self, now: float | None = None) -> Overview: ...

    def spend(self, by: By, since: datetime, *, tenant: str | None = None) -> list[SpendLine]: ...

    def changes(self, after: int, limit: int = 1000) -> tuple[int, list[str]]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with."""

    app: App
    settings: Settings
    broker: Broker
    clock: Clock
    telemetry: Telemetry
    read: Reader
    intake: Intake
    outbox: Outbox
    waiting: Waiting
    events: Events
    seen: Idempotency
    inbox_partitions: int
    extras: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """What other parts tell, by the name of its route: `attention`, `insight`."""
    order_timeout_s: float = 5.0
    """How long to wait for the effect of an order or a decision."""
    workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
    )
    accepted: OrderedDict[str, str | None] = field(default_factory=OrderedDict)
    """Cases that were opened here a moment ago, and their tenants."""

    def remember(self, case_id: str, tenant: str | None) -> None:
        """This case was opened here: until the projection knows it, that is all there is."""
        self.accepted[case_id] = tenant
        while len(self.accepted) > ACCEPTED_MAX:
            self.accepted.popitem(last=False)

    async def looked_up(self, look: Callable[[], T]) -> T:
        """What a question to the projection or the broker answers; asked on another thread."""
        return await asyncio.to_thread(look)

    async def waited_for(self, work: Callable[[], T]) -> T:
        """What comes of work that may take seconds; it keeps no question from being answered."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    async def need_case(self, caller: Caller, case_id: str) -> CaseView:
        """A case that the caller may see. Raises `Problem`."""
        found = await self.looked_up(lambda: self.read.case(case_id))
        if found is None or not caller.sees(found.tenant):
            raise Problem("not-found", f"no case {case_id} is known")
        return found

    async def tell_case(self, command: PersonCommand, ce_id: str = "") -> None:
        """Send a command to a case; returns when Kafka has it. Raises `Problem`."""
        now = self.clock()
        record = command_record(command, self.settings, self.inbox_partitions, now, ce_id)
        await self.outbox.send([record])


def caller_of(request: Request) -> Caller:
    """Who sends a request."""
    found: Caller = request.scope["caller"]
    return found


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    body = msgspec.json.encode(value, enc_hook=_plain)
    return Response(body, status, dict(headers or {}), "application/json")


def check_json(*values: Any) -> None:
    """What goes into a message must come out of it again. Raises `Problem`."""
    for value in values:
        if is_hostile(value):
            raise Problem("invalid", "nested too deep, or a number that is out of range")
        try:
            msgspec.json.encode(value)
        except UnicodeEncodeError:
            raise Problem("invalid", "a text holds half of a character") from None


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return str(value)


def no_such(error: PayloadError) -> Problem:
    """A question that means nothing, by the word for it."""
    return Problem("invalid", str(error.args[0]), reason=error.reason)
