"""The composition of the API: one application from an app, its broker and the projection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from caseworks.api import agents, approvals, cases, letters, operations
from caseworks.api.auth import Gate, check_exposure
from caseworks.api.binding import BATCH
from caseworks.api.documents import REF, documented, openapi_of, serve_page
from caseworks.api.door import Asgi, Bounds, Door
from caseworks.api.idempotency import Idempotency
from caseworks.api.keys import KeyRing
from caseworks.api.limits import RateLimits
from caseworks.api.operations import LagBook
from caseworks.api.outbox import Outbox
from caseworks.api.parts import Parts, Reader
from caseworks.api.problems import Problem, of_exception, of_status
from caseworks.api.publishing import Events, Published, PublishedBatch
from caseworks.api.stream import Hub, Streams
from caseworks.api.tokens import tokens_of
from caseworks.api.waiting import Waiting
from caseworks.attention.gather import Lookout
from caseworks.lag import Surveyor
from coordinator.intake import Intake
from events.envelope import STRUCTURED
from events.errors import CaseworksError

if TYPE_CHECKING:
    from caseworks.compose import System
    from events.settings import Settings

PREFIX = "/api/v1"
CONSOLE = Path(__file__).parent.parent / "console"
DESCRIPTION = """
Publish business events, wait for results, look at cases, decide what people are asked, and operate.

Say who you are by `Authorization: Bearer <key or token>` or `X-API-Key: <key>`. Roles: `publish`,
`read`, `decide`, `operate` (all of them). A key of one tenant sees and publishes for it alone.
Every error is a problem document (RFC 9457). Lists answer `{items, next}`; `next` is the `cursor`
of the page that follows. Events come as CloudEvents in the HTTP binding: binary (`ce-` headers),
structured, or a batch; they are answered once Kafka has acknowledged them.
"""
SECURITY: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token of the OpenID provider.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


@dataclass(frozen=True, slots=True)
class Api:
    """The application, and what tests and roles look at."""

    asgi: Asgi
    framework: FastAPI
    parts: Parts
    hub: Hub

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be answered, and if not, why."""
        if self.parts.waiting.trouble:
            return False, self.parts.waiting.trouble
        return True, "ready"


def gate_of(settings: Settings) -> Gate:
    """Who may ask. Raises `SettingsError` for keys that cannot be read."""
    file = settings.api_keys_file
    return Gate(None if file is None else KeyRing(file), tokens_of(settings))


def create_api(
    system: System,
    read: Reader,
    *,
    gate: Gate | None = None,
    extras: Mapping[str, Callable[[], Any]] | None = None,
    order_timeout_s: float = 5.0,
) -> Api:
    """The API of a system.

    Args:
        system: The app on its broker; its topics must be there.
        read: The projection.
        gate: Who may ask; default: as the settings say.
        extras: What `/insight` tells where somebody knows, and `/attention` if not the usual.
        order_timeout_s: How long to wait for the effect of an order or a decision.

    Raises `SettingsError` for keys that cannot be read, `SetupError` for an open API that others
    could reach, and for topics that are missing.
    """
    settings = system.settings
    gate = gate or gate_of(settings)
    check_exposure(settings.api_host, gate)
    specs = {agent.name: agent.spec for agent in system.app.agents.values()}
    lag = LagBook(lambda: Surveyor(system.broker, settings, specs=specs, clock=system.clock))
    lookout = Lookout(system.broker, settings, read, lag.report, clock=system.clock)
    told = {"attention": lookout.tell, **(extras or {})}
    parts = _parts(system, read, told, order_timeout_s)
    hub = Hub(read, settings, system.clock, system.telemetry)
    parts.waiting.on_alert = lambda alert: hub.alert(alert.model_dump(mode="json"))
    streams = Streams(hub, settings, system.telemetry)
    framework = _framework(parts, hub, lag)
    door = Door(
        framework,
        gate,
        RateLimits(settings.api_requests_per_minute, settings.api_requests_per_hour),
        Bounds(settings.api_body_bytes_max, settings.api_body_timeout_s),
        system.telemetry,
        direct={("POST", f"{PREFIX}/events"): parts.events, ("GET", f"{PREFIX}/stream"): streams},
    )
    return Api(door, framework, parts, hub)


def _parts(
    system: System, read: Reader, extras: Mapping[str, Callable[[], Any]], order_timeout_s: float
) -> Parts:
    settings, app = system.settings, system.app
    partitions = system.check_topics()
    intake = Intake(settings.topics, app.plans, app.data_types, settings.event_bytes_max)
    outbox = Outbox(system.broker, settings.api_ack_timeout_s)
    seen = Idempotency()
    return Parts(
        app=app,
        settings=settings,
        broker=system.broker,
        clock=system.clock,
        telemetry=system.telemetry,
        read=read,
        intake=intake,
        outbox=outbox,
        waiting=Waiting(system.broker, settings, [plan.name for plan in app.plans]),
        events=Events(intake, outbox, system.clock, system.telemetry, seen),
        seen=seen,
        inbox_partitions=partitions,
        extras=extras,
        order_timeout_s=order_timeout_s,
    )


def _framework(parts: Parts, hub: Hub, lag: LagBook) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        parts.waiting.start()
        yield
        await hub.close()
        await parts.outbox.close()
        await asyncio.to_thread(parts.waiting.close)
        await asyncio.to_thread(lag.close)

    made = FastAPI(
        title="Caseworks",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        dependencies=[Depends(_once)],
    )
    serve_page(made)
    families = [family.routes(parts) for family in (cases, agents, approvals, letters)]
    for router in (_raw(parts), *families, operations.routes(parts, lag)):
        made.include_router(router, prefix=PREFIX)
    for kind in (Exception, HTTPException, RequestValidationError, CaseworksError, Problem):
        made.add_exception_handler(kind, _raised)
    made.mount("/", StaticFiles(directory=CONSOLE, html=True, check_dir=False), name="console")
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(openapi_of(made, SECURITY))
        return document

    made.openapi = openapi  # type: ignore[method-assign]
    return made


def _raw(parts: Parts) -> APIRouter:
    """The two routes that the door serves by itself; here they are for the document."""
    router = APIRouter(tags=["events"])
    event: dict[str, Any] = {
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
    }
    known = sorted(parts.intake.plan_of.keys() | parts.intake.waited_for)
    text: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 1024}
    event["properties"] = {
        "specversion": {"type": "string", "enum": ["1.0"]},
        "id": text,
        "source": text,
        "type": {"type": "string", "enum": known},
        "subject": text,
        "time": {"type": "string", "format": "date-time"},
        "tenant": text,
        "priority": {"type": "string", "enum": ["urgent", "normal", "deferred"]},
        "deadline": {"type": "string", "format": "date-time"},
        "data": {"description": "As the schema of the event's type says."},
    }
    event["example"] = _example(parts, known)
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": 1000}
    content = {STRUCTURED: {"schema": event}, BATCH: {"schema": batch}}
    single = documented(Published, 202, "Kafka has it.")
    both = {"anyOf": [{"$ref": REF.format(name=name)} for name in ("Published", "PublishedBatch")]}
    documented(PublishedBatch, 202)
    single["responses"][202]["content"]["application/json"]["schema"] = both

    async def publish(request: Request) -> None:
        """Publish events, one or a batch; answered once Kafka has acknowledged all of them.

        Binary mode: the attributes are the headers `ce-id`, `ce-source`, `ce-type`,
        `ce-specversion`…, the body is the data, its type `application/json`. The header
        `Idempotency-Key` may stand for the id. What intake would refuse is refused here, 422.
        """

    async def stream(request: Request, topics: str = "overview") -> None:
        """Server-sent events: `overview`, `case`, `approval`, `alert`.

        `topics` are of `overview`, `cases`, `approvals`, `alerts` and `case:<id>`, with commas
        between. `Last-Event-ID` goes on where a stream ended.
        """

    router.add_api_route(
        "/events",
        publish,
        methods=["POST"],
        status_code=202,
        openapi_extra={"requestBody": {"required": True, "content": content}},
        **single,
    )
    router.add_api_route(
        "/stream",
        stream,
        methods=["GET"],
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        response_class=Response,
    )
    return router


def _example(parts: Parts, known: list[str]) -> dict[str, Any]:
    """An event that the app would take."""
    from caseworks.cli.up import sample_of

    event_type = next((name for name in known if name in parts.app.data_types), known[0])
    adapter = parts.app.data_types.get(event_type)
    return {
        "specversion": "1.0",
        "id": "4711",
        "source": "shop/web",
        "type": event_type,
        "subject": "customer-42",
        "data": sample_of(adapter.json_schema()) if adapter is not None else {},
    }


def _once(request: Request) -> None:
    """A parameter that stands twice means two things: it is refused, not guessed at."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise Problem("invalid", f"the parameter {name[:100]!r} stands twice")


async def _raised(_request: Request, error: Exception) -> Response:
    """Every exception of the framework's routes, as a problem."""
    match error:
        case HTTPException():
            headers = dict(error.headers or {})
            problem = of_status(error.status_code, str(error.detail), headers)
        case RequestValidationError():
            problem = _invalid(error)
        case _:
            problem = of_exception(error)
    media_type = "application/problem+json"
    headers = {**problem.headers, "Cache-Control": "no-store"}
    return Response(problem.body(), problem.status, headers, media_type)


def _invalid(error: RequestValidationError) -> Problem:
    """What is wrong with a request, place by place."""
    told = [
        {"place": ".".join(map(str, each["loc"])), "detail": str(each["msg"])}
        for each in error.errors()[:20]
    ]
    first = told[0] if told else {"place": "body", "detail": "is not valid"}
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return Problem("bad-request", f"the body is not JSON: {first['detail']}")
    return Problem("invalid", f"{first['place']}: {first['detail']}", reason="schema", errors=told)


def _version() -> str:
    try:
        return version("caseworks")
    except PackageNotFoundError:
        return "0"
