"""`POST /events` as a plain ASGI application: the hot route, without a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from caseworks.api.auth import Caller
from caseworks.api.binding import Accepted, HttpHeaders, Reading
from caseworks.api.door import Receive, Scope, Send
from caseworks.api.idempotency import Idempotency, key_of
from caseworks.api.outbox import Outbox
from caseworks.api.problems import Problem
from coordinator.intake import Intake
from events.dispatch import Clock
from events.metrics import Telemetry

ROUTE = "POST /events"
JSON = (b"content-type", b"application/json")
REPEATED = (b"idempotent-replayed", b"true")


class Published(msgspec.Struct, frozen=True):
    """An event that Kafka has. The same event again has the same case."""

    id: str
    source: str
    type: str
    case_id: str


class PublishedBatch(msgspec.Struct, frozen=True):
    """The events of a batch, in its order."""

    events: list[Published]


@dataclass(frozen=True, slots=True)
class Events:
    """Accepts events over HTTP: answers 202 once Kafka has acknowledged all of them."""

    intake: Intake
    outbox: Outbox
    clock: Clock
    telemetry: Telemetry
    seen: Idempotency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_name"] = ROUTE
        caller: Caller = scope["caller"]
        caller.need("publish")
        headers: HttpHeaders = scope["headers"]
        body = await read_body(receive)
        status, answer, more = await self.accept(caller, headers, body)
        length = (b"content-length", str(len(answer)).encode())
        start = {"type": "http.response.start", "status": status, "headers": [JSON, length, *more]}
        await send(start)
        await send({"type": "http.response.body", "body": answer})

    async def accept(
        self, caller: Caller, headers: HttpHeaders, body: bytes
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        """Publish what a request holds; returns status, body and headers. Raises `Problem`."""
        given = [value for name, value in headers if name == b"idempotency-key"]
        key = key_of(given[0]) if given else None
        seen = None
        if key is not None:
            seen = self.seen.begin(caller, ROUTE, key, _shown(headers) + body)
            if seen.answer is not None:
                status, answer, more = seen.answer
                return status, answer, (*more, REPEATED)
        reading = Reading(self.intake, caller, self.clock(), key)
        try:
            accepted = reading.events(headers, body)
        except Problem:
            if key is not None:
                self.seen.forget(caller, ROUTE, key)
            raise
        await self.publish(accepted)
        found = self._answer(accepted, batch=body.lstrip()[:1] == b"[" and _is_batch(headers))
        if seen is not None:
            seen.answer = found
        return found

    async def publish(self, accepted: Sequence[Accepted]) -> None:
        """Wait until Kafka has them. Raises `Problem`."""
        await self.outbox.send([each.record for each in accepted])
        for each in accepted:
            self.telemetry.count("caseworks_api_events_total", type=each.event.type)

    def _answer(
        self, accepted: Sequence[Accepted], *, batch: bool
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        told = [
            Published(each.event.id, each.event.source, each.event.type, each.event.case_id)
            for each in accepted
        ]
        if batch:
            return 202, msgspec.json.encode(PublishedBatch(told)), ()
        location = (b"location", f"/api/v1/cases/{told[0].case_id}".encode())
        return 202, msgspec.json.encode(told[0]), (location,)


def _is_batch(headers: HttpHeaders) -> bool:
    return any(name == b"content-type" and b"batch+json" in value for name, value in headers)


def _shown(headers: HttpHeaders) -> bytes:
    """The headers that belong to the events: a key stands for them as well."""
    return b"\n".join(name + value for name, value in headers if name[:3] == b"ce-") + b"\n\n"


async def read_body(receive: Receive) -> bytes:
    """The whole body, within the bounds of the door."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("bad-request", "the client went away")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
