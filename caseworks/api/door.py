"""What every request passes first: who asks, how often, how much, how slowly; and every error.

A plain ASGI application around the others, so that none of it depends on a framework. The hot
routes are given as `direct`: they are served without the framework behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from caseworks.api.auth import Caller, Gate
from caseworks.api.limits import RateLimits
from caseworks.api.problems import Problem, answer_of, of_exception
from events.metrics import Telemetry

Scope = MutableMapping[str, Any]
Received = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Received]]
Send = Callable[[Received], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/api/"
DRAIN_S = 1.0
"""How long what is left of a refused body is read, so that its sender hears the answer."""
CONSOLE_POLICY = (
    b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
NO_CONTENT_POLICY = b"default-src 'none'; frame-ancestors 'none'"
GUARD = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much and how slowly a request may send."""

    body_bytes_max: int
    body_timeout_s: float


class Door:
    """The outermost application."""

    def __init__(
        self,
        inner: Asgi,
        gate: Gate,
        limits: RateLimits,
        bounds: Bounds,
        telemetry: Telemetry,
        direct: Mapping[tuple[str, str], Asgi] | None = None,
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._limits = limits
        self._bounds = bounds
        self._telemetry = telemetry
        self._direct = dict(direct or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        else:  # a WebSocket: there are none here
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        answering = _Answering(send, path)
        body = _Body(receive, self._bounds)
        begun = monotonic()
        try:
            if path.startswith(PREFIX):
                scope["caller"] = await self._admit(scope, answering)
            body.check_length(scope["headers"])
            inner = self._direct.get((scope["method"], path), self._inner)
            await inner(scope, body.receive, answering.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a document
            await self._refuse(answering, body, of_exception(error))
        finally:
            self._count(scope, answering.status, monotonic() - begun)

    async def _admit(self, scope: Scope, answering: _Answering) -> Caller:
        caller = await self._gate.caller(dict(scope["headers"]))
        left = self._limits.take(caller)
        if left is not None:
            answering.more += [(k.lower().encode(), v.encode()) for k, v in left.headers().items()]
        return caller

    async def _refuse(self, answering: _Answering, body: _Body, problem: Problem) -> None:
        if answering.finished:
            return  # the framework told it, and raised it once more
        if answering.started:
            raise problem  # too late to say anything: the connection ends here
        answer = answer_of(problem)
        headers = list(answer.headers)
        if not body.is_read:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await answering.send(start)
        rest = not body.is_read
        await answering.send({"type": "http.response.body", "body": answer.body, "more_body": rest})
        if rest:
            await body.drain()
            await answering.send({"type": "http.response.body", "body": b""})

    def _count(self, scope: Scope, status: int, took_s: float) -> None:
        route = _route_of(scope)
        self._telemetry.count("caseworks_api_requests_total", route=route, status=status)
        self._telemetry.observe("caseworks_api_seconds", took_s, route=route)


def _route_of(scope: Scope) -> str:
    """The route as the document names it, below its prefix: never what a client made up."""
    direct: str | None = scope.get("route_name")
    path: str | None = getattr(scope.get("route"), "path_format", None)
    if path is None:
        return direct or "other"
    return f"{scope['method']} {path.removeprefix('/api/v1')}"


class _Answering:
    """Adds to every answer what all have in common."""

    def __init__(self, send: Send, path: str) -> None:
        self._send = send
        self._policy = NO_CONTENT_POLICY if path.startswith(PREFIX) else CONSOLE_POLICY
        self.more: list[tuple[bytes, bytes]] = []
        self.started = False
        self.finished = False
        self.status = 0

    async def send(self, message: Received) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append((b"content-security-policy", self._policy))
            message = {**message, "headers": [*headers, *GUARD, *self.more]}
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)


class _Body:
    """A request's body within its bounds."""

    def __init__(self, receive: Receive, bounds: Bounds) -> None:
        self._receive = receive
        self._bounds = bounds
        self._size = 0
        self._due: float | None = None
        self.is_read = True
        """Whether nothing of it is left to come."""

    def check_length(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Refuse what says itself that it is too long. Raises `Problem`."""
        for name, value in headers:
            if name == b"transfer-encoding":
                self.is_read = False
            if name == b"content-length":
                self.is_read = value in (b"0", b"")
                if value.isdigit() and int(value[:20]) > self._bounds.body_bytes_max:
                    raise self._too_large()

    async def receive(self) -> Received:
        """The next part. Raises `Problem` when it is too much, or comes too slowly."""
        if self.is_read:
            return await self._receive()
        if self._due is None:
            self._due = monotonic() + self._bounds.body_timeout_s
        try:
            async with asyncio.timeout(max(0.0, self._due - monotonic())):
                message = await self._receive()
        except TimeoutError:
            told = f"the body was not there within {self._bounds.body_timeout_s:g} s"
            raise Problem("too-slow", told) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self.is_read = not message.get("more_body", False)
            if self._size > self._bounds.body_bytes_max:
                raise self._too_large()
        return message

    async def drain(self) -> None:
        """Throw away what still comes, for a little while."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while True:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _too_large(self) -> Problem:
        return Problem("too-large", f"at most {self._bounds.body_bytes_max} bytes are read")
