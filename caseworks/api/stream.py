"""`GET /stream`: server-sent events. One poller for all clients, one bounded queue for each.

Theory of operation
-------------------
While somebody listens, the hub asks the projection a few times a second which cases changed, and
makes one chunk of bytes of it for each distinct wish (topics and tenant); clients share chunks. A
client that does not take its chunks loses its stream: its queue is full, or the server's socket
takes nothing for too long. It comes back with `Last-Event-ID` and goes on where it was; so does
every client after `LASTS_S`, because who may listen is looked at when a stream begins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import msgspec

from caseworks.api.auth import Caller
from caseworks.api.door import Receive, Scope, Send
from caseworks.api.parts import Reader
from caseworks.api.problems import Problem
from caseworks.projection.views import ApprovalView, CaseLine
from events.dispatch import Clock
from events.errors import CaseworksError
from events.logs import get_logger
from events.metrics import Telemetry
from events.settings import Settings

ROUTE = "GET /stream"
TICK_S = 0.25
OVERVIEW_S = 0.5
APPROVALS_S = 1.0
HEARTBEAT_S = 15.0
LASTS_S = 900.0
"""Then a stream ends and its client comes again; one whose key counts no more stays out."""
CLIENTS_A_SECOND = 4_000
"""With more clients than this, overviews come less often: each is a write for every one."""
CHANGES_MAX = 2_000
APPROVALS_MAX = 500
CASES_MAX = 50
"""Cases that one stream may name."""
TOPICS = ("overview", "cases", "approvals", "alerts")
HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants to hear; clients of one wish share every chunk."""

    topics: frozenset[str]
    cases: frozenset[str] = frozenset()
    tenant: str | None = None

    def wants(self, line: CaseLine) -> bool:
        """Whether a change of this case is for them."""
        if self.tenant is not None and line.tenant != self.tenant:
            return False
        return "cases" in self.topics or line.case_id in self.cases


@dataclass(eq=False, slots=True)
class Client:
    """One open stream."""

    wish: Wish
    queue_max: int
    waiting: deque[bytes] = field(default_factory=deque)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""
    """Why it is over: `full` (it did not read), `gone`, or `closed` by us."""

    def put(self, chunk: bytes) -> bool:
        """Queue a chunk; says whether there was room."""
        if len(self.waiting) >= self.queue_max:
            self.end("full")
            return False
        self.waiting.append(chunk)
        self.told.set()
        return True

    def end(self, why: str) -> None:
        """It is over; the first reason counts."""
        self.ended = self.ended or why
        self.told.set()

    async def next(self) -> bytes | None:
        """Everything that waits, as one; `None`: it is over."""
        while not self.waiting and not self.ended:
            self.told.clear()
            await self.told.wait()
        if self.ended:
            return None
        found = b"".join(self.waiting)
        self.waiting.clear()
        return found


class Hub:
    """All streams of a process. Of one event loop."""

    def __init__(
        self, read: Reader, settings: Settings, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._read = read
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._clients: set[Client] = set()
        self._polling: asyncio.Task[None] | None = None
        self._seq = -1
        self._asked: dict[str, ApprovalView] | None = None
        self._overview = b""
        self._due = dict.fromkeys(("overview", "approvals", "heartbeat"), 0.0)

    @property
    def open(self) -> int:
        """Streams that are open."""
        return len(self._clients)

    def join(self, wish: Wish) -> Client:
        """A new stream. Raises `Problem` when there are too many."""
        if len(self._clients) >= self._settings.api_streams_max:
            told = f"{len(self._clients)} streams are open already"
            raise Problem("unavailable", told, headers={"Retry-After": "30"})
        client = Client(wish, self._settings.api_stream_queue_max)
        self._clients.add(client)
        self._telemetry.set("caseworks_api_streams", len(self._clients))
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="streams")
        return client

    def leave(self, client: Client) -> None:
        """A stream ended."""
        self._clients.discard(client)
        self._telemetry.set("caseworks_api_streams", len(self._clients))

    def alert(self, alert: Any) -> None:
        """Tell an alert to all who want to hear of them."""
        self._tell("alerts", _event("alert", alert))

    async def since(self, wish: Wish, after: int) -> bytes:
        """What a client missed that heard everything up to *after*."""
        seq, lines = await asyncio.to_thread(self._changed, after)
        if self._seq < 0:
            self._seq = seq
        return _cases(wish, lines, seq)

    async def close(self) -> None:
        """End every stream."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        for client in self._clients:
            client.end("closed")

    # --- the poller

    async def _poll(self) -> None:
        while self._clients:
            try:
                await self._tick(monotonic())
            except CaseworksError as error:  # no projection now: it is asked again
                log.debug("api_stream", error=str(error))
            except Exception:  # else no stream would hear anything again
                log.exception("api_stream")
            await asyncio.sleep(TICK_S)
        self._seq, self._asked, self._overview = -1, None, b""

    async def _tick(self, now: float) -> None:
        if self._is_due("heartbeat", now, HEARTBEAT_S):
            self._tell(None, b": still here\n\n")
        topics = {topic for client in self._clients for topic in client.wish.topics}
        every_s = max(OVERVIEW_S, len(self._clients) / CLIENTS_A_SECOND)
        if "overview" in topics and self._is_due("overview", now, every_s):
            await self._tell_overview()
        if topics & {"cases", "case"}:
            await self._tell_cases()
        if "approvals" in topics and self._is_due("approvals", now, APPROVALS_S):
            await self._tell_approvals()

    def _is_due(self, what: str, now: float, every_s: float) -> bool:
        if now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True

    async def _tell_overview(self) -> None:
        found = await asyncio.to_thread(lambda: self._read.overview(self._clock()))
        self._overview = _event("overview", found)
        self._tell("overview", self._overview)

    async def _tell_cases(self) -> None:
        seq, lines = await asyncio.to_thread(self._changed, self._seq)
        self._seq = seq
        if not lines:
            return
        made: dict[Wish, bytes] = {}
        for client in tuple(self._clients):
            wish = client.wish
            if wish not in made:
                made[wish] = _cases(wish, lines, seq)
            if made[wish]:
                self._put(client, made[wish])

    def _changed(self, after: int) -> tuple[int, list[CaseLine]]:
        seq, case_ids = self._read.changes(after, CHANGES_MAX)
        return seq, self._read.lines(list(dict.fromkeys(case_ids))) if case_ids else []

    async def _tell_approvals(self) -> None:
        before = self._asked
        page = await asyncio.to_thread(lambda: self._read.approvals(limit=APPROVALS_MAX))
        self._asked = {each.approval_id: each for each in page.items}
        if before is None:
            return
        new = [each for name, each in self._asked.items() if before.get(name) != each]
        gone = [name for name in before if name not in self._asked]
        ended = await asyncio.to_thread(lambda: [self._read.approval(name) for name in gone])
        for view in (*new, *ended):
            if view is not None:
                self._tell("approvals", _event("approval", view), view.tenant)

    def _tell(self, topic: str | None, chunk: bytes, tenant: str | None = None) -> None:
        for client in tuple(self._clients):
            wish = client.wish
            if topic is not None and topic not in wish.topics:
                continue
            if topic == "approvals" and wish.tenant is not None and wish.tenant != tenant:
                continue
            self._put(client, chunk)

    def _put(self, client: Client, chunk: bytes) -> None:
        if not client.put(chunk):
            self._clients.discard(client)


@dataclass(frozen=True, slots=True)
class Streams:
    """The route, as a plain ASGI application."""

    hub: Hub
    settings: Settings
    telemetry: Telemetry
    lasts_s: float = LASTS_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_name"] = ROUTE
        caller: Caller = scope["caller"]
        caller.need("read")
        wish = wish_of(scope["query_string"], caller)
        after = _last_id(scope["headers"])
        client = self.hub.join(wish)
        gone = asyncio.ensure_future(_disconnect(receive))
        gone.add_done_callback(lambda _done: client.end("gone"))
        over = asyncio.get_running_loop().call_later(self.lasts_s, client.end, "closed")
        try:
            missed = await self.hub.since(wish, after) if after is not None else b""
            await send({"type": "http.response.start", "status": 200, "headers": HEAD})
            await self._send(send, b"retry: 1000\n\n" + missed)
            while (chunk := await client.next()) is not None:
                await self._send(send, chunk)
            if client.ended == "closed":
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            client.end("slow")
        finally:
            gone.cancel()
            over.cancel()
            self.hub.leave(client)
        if client.ended in ("slow", "full"):
            self._drop(scope, client.ended)

    async def _send(self, send: Send, chunk: bytes) -> None:
        async with asyncio.timeout(self.settings.api_stream_send_timeout_s):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    def _drop(self, scope: Scope, why: str) -> None:
        """End the connection at once: what waits in its buffers is never taken."""
        self.telemetry.count("caseworks_api_streams_dropped_total", why=why)
        drop = scope.get("drop")
        if drop is not None:
            drop()


def wish_of(query: bytes, caller: Caller) -> Wish:
    """What the query asks for. Raises `Problem`."""
    said = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("topics", [""])
    names = [name for part in said for name in part.split(",") if name] or ["overview"]
    topics = {name for name in names if name in TOPICS}
    cases = {name.removeprefix("case:") for name in names if name.startswith("case:")}
    odd = [name for name in names if name not in TOPICS and not name.startswith("case:")]
    if odd or len(cases) > CASES_MAX:
        known = ", ".join((*TOPICS, "case:<id>"))
        raise Problem("invalid", f"topics are of: {known}; at most {CASES_MAX} cases")
    if topics & {"overview", "alerts"}:
        caller.need_all_tenants()
    if cases:
        topics.add("case")
    return Wish(frozenset(topics), frozenset(cases), caller.tenant)


def _last_id(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"last-event-id" and value.isdigit() and len(value) < 19:
            return int(value)
    return None


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cases(wish: Wish, lines: Iterable[CaseLine], seq: int) -> bytes:
    found = [_event("case", line) for line in lines if wish.wants(line)]
    if not found:
        return b""
    return b"id: %d\n" % seq + b"".join(found)


def _event(name: str, value: Any) -> bytes:
    """One event; JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
