"""Routes of agents: ask one alone, see how it does, pause it."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Body, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from caseworks import fleet
from caseworks.api.auth import Caller
from caseworks.api.binding import Accepted, Reading
from caseworks.api.cases import IdempotencyKey, Strict
from caseworks.api.documents import documented
from caseworks.api.idempotency import key_of
from caseworks.api.parts import Parts, answer, caller_of, check_json
from caseworks.api.problems import Problem
from caseworks.api.waiting import RefusedError
from caseworks.app import direct_type
from caseworks.projection.views import AgentLine, CaseView
from events.errors import SetupError
from schemas.control import Pause, PauseOrder
from schemas.lean_case import CLOSED
from schemas.result import Result

WAIT_S = 30.0
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,5})", re.IGNORECASE)

AgentName = Annotated[str, Field(max_length=100)]
AgentData = Annotated[Any, Body(description="What the agent reads: the data of its event.")]
Timeout = Annotated[
    float | None,
    Query(ge=0, le=600, description="Seconds to wait; then the answer is 202 and an address."),
]
Prefer = Annotated[
    str | None, Header(max_length=200, description="`wait=10`: as timeout_s (RFC 7240).")
]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work for one agent; `task_id` is the id of its case."""

    task_id: str
    agent: str
    status: str
    """`accepted`: it was taken; a status of a case: it is at work, or how it ended."""
    output: Any = None
    confidence: float | None = None
    reason: str | None = None
    degraded: dict[str, Any] = {}
    opened_at: str | None = None
    closed_at: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent stands. `status`: `ok`, `paused`, `breaker_open` or `no_workers`."""

    agent: str
    version: str
    status: str
    workers: int
    waiting: int
    """Tasks that are not done."""
    direct: bool
    calls: list[str]
    breakers: dict[str, str]
    """By dependency that it calls: the state of its breaker."""
    paused: Any = None
    """By whom and why; `null` as well for keys of one tenant: it may tell of others."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent did in the last five minutes."""

    agent: str
    at: str
    recent: AgentLine | None = None


class AgentItem(msgspec.Struct, frozen=True, kw_only=True):
    """An agent of the app, and how it does."""

    agent: str
    version: str
    direct: bool
    calls: list[str]
    timeout_s: float
    in_flight_max: int
    paused: bool
    recent: AgentLine | None = None
    """`null` while the projection is not there, and for keys of one tenant."""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}


class AgentPage(msgspec.Struct, frozen=True, kw_only=True):
    """All agents of the app."""

    items: list[AgentItem]
    next: str | None = None


class PauseBody(Strict):
    """Why, and of which version only."""

    why: Annotated[str, Field(max_length=1_000)] = ""
    agent_version: Annotated[str, Field(max_length=100)] = ""


class Ordered(BaseModel):
    """What the controller decided; null, with status 202: it has the order, and did not answer."""

    decided: Any = None


def routes(parts: Parts) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(tags=["agents"])
    _work(router, parts)
    _looks(router, parts)

    @router.post("/agents/{agent}/pause", **documented(Ordered))
    async def pause_agent(
        request: Request, agent: AgentName, body: PauseBody | None = None
    ) -> Response:
        """Let an agent take no new tasks: they wait in Kafka."""
        return await _order(parts, caller_of(request), agent, body or PauseBody(), paused=True)

    @router.post("/agents/{agent}/resume", **documented(Ordered))
    async def resume_agent(
        request: Request, agent: AgentName, body: PauseBody | None = None
    ) -> Response:
        """Let an agent work again."""
        return await _order(parts, caller_of(request), agent, body or PauseBody(), paused=False)

    return router


def _work(router: APIRouter, parts: Parts) -> None:
    accepted = {"description": "It is not done yet: ask at `Location`."}

    @router.post("/agents/{agent}/process", **documented(Task, 200, more={202: accepted}))
    async def process(
        request: Request,
        *,
        agent: AgentName,
        data: AgentData,
        timeout_s: Timeout = None,
        prefer: Prefer = None,
        key: IdempotencyKey = None,
    ) -> Response:
        """Ask one agent, and wait for its answer."""
        caller = caller_of(request)
        wanted = _accept(parts, caller, agent, data, key)
        case_id = wanted.event.case_id
        if key is not None:
            known = await parts.looked_up(lambda: parts.read.case(case_id))
            if known is not None and known.status in CLOSED and caller.sees(known.tenant):
                return answer(_task_of(known, agent))
        future = parts.waiting.expect(case_id)
        try:
            await parts.events.publish([wanted])
        except BaseException:
            parts.waiting.forget(case_id, future)
            raise
        parts.remember(case_id, wanted.event.tenant)
        try:
            wait_s = _wait_s(parts, timeout_s, prefer)
            result = await parts.waiting.wait(case_id, future, wait_s)
        except RefusedError as error:
            raise Problem("invalid", str(error), reason=error.reason) from None
        if result is None:
            return _taken(case_id, agent)
        return answer(_done(result, agent))

    @router.post("/agents/{agent}/tasks", status_code=202, **documented(Task, 202))
    async def submit(
        request: Request,
        agent: AgentName,
        data: AgentData,
        key: IdempotencyKey = None,
    ) -> Response:
        """Ask one agent; its answer is at `Location` once it is there."""
        wanted = _accept(parts, caller_of(request), agent, data, key)
        await parts.events.publish([wanted])
        parts.remember(wanted.event.case_id, wanted.event.tenant)
        return _taken(wanted.event.case_id, agent)

    @router.get("/tasks/{task_id}", **documented(Task))
    async def show_task(
        request: Request, task_id: Annotated[str, Field(max_length=200)]
    ) -> Response:
        """How a task stands, and what it gave."""
        caller = caller_of(request)
        caller.need("read")
        found = await parts.looked_up(lambda: parts.read.case(task_id))
        if found is not None and caller.sees(found.tenant):
            return answer(_task_of(found, found.workflow.removeprefix("agent-")))
        if task_id in parts.accepted and caller.sees(parts.accepted[task_id]):
            return answer(Task(task_id=task_id, agent="", status="accepted"))
        raise Problem("not-found", f"no task {task_id} is known")


def _looks(router: APIRouter, parts: Parts) -> None:
    @router.get("/agents", **documented(AgentPage))
    async def list_agents(request: Request) -> Response:
        """The agents of the app, and how they do."""
        caller = caller_of(request)
        caller.need("read")
        lines = await _lines(parts, caller)
        items = [_item(parts, name, lines.get(name)) for name in sorted(parts.app.agents)]
        return answer(AgentPage(items=items))

    @router.get("/agents/{agent}/health", **documented(Health))
    async def agent_health(request: Request, agent: AgentName) -> Response:
        """Whether an agent works: workers, tasks that wait, pauses, breakers."""
        caller = caller_of(request)
        caller.need("read")
        _need_agent(parts, agent)
        found = await parts.looked_up(lambda: _health(parts, agent))
        if caller.tenant is not None:
            found = msgspec.structs.replace(found, paused=None)
        return answer(found)

    @router.get("/agents/{agent}/metrics", **documented(Numbers))
    async def agent_metrics(request: Request, agent: AgentName) -> Response:
        """What an agent did in the last five minutes."""
        caller = caller_of(request)
        caller.need("read")
        caller.need_all_tenants()
        _need_agent(parts, agent)
        seen = await parts.looked_up(lambda: parts.read.overview(parts.clock()))
        recent = next((line for line in seen.agents if line.agent == agent), None)
        return answer(Numbers(agent=agent, at=seen.at, recent=recent))


def _accept(parts: Parts, caller: Caller, agent: str, data: Any, key: str | None) -> Accepted:
    caller.need("publish")
    _need_agent(parts, agent)
    if not is_direct(parts, agent):
        told = f"{agent} is asked within workflows only: declare it with @app.agent(direct=True)"
        raise Problem("not-found", told)
    check_json(data)
    given, route = key_of(key), f"agents/{agent}"
    stands_for = None if given is None else f"{route}\n{given}"
    reading = Reading(parts.intake, caller, parts.clock(), stands_for)
    more = {} if given is not None else {"id": str(uuid4())}
    wanted = reading.event_of(direct_type(agent), data, **more)
    if given is not None:
        parts.seen.begin(caller, route, given, wanted.record.value or b"")
    return wanted


def is_direct(parts: Parts, agent: str) -> bool:
    """Whether an agent may be asked alone."""
    return direct_type(agent) in parts.intake.plan_of


def _need_agent(parts: Parts, agent: str) -> None:
    if agent not in parts.app.agents:
        raise Problem("not-found", f"the app has no agent {agent}")


def _wait_s(parts: Parts, timeout_s: float | None, prefer: str | None) -> float:
    said = _WAIT.search(prefer or "")
    wanted = float(said[1]) if said else WAIT_S
    return min(wanted if timeout_s is None else timeout_s, parts.settings.api_wait_max_s)


def _taken(case_id: str, agent: str) -> Response:
    task = Task(task_id=case_id, agent=agent, status="accepted")
    return answer(task, 202, {"Location": f"/api/v1/tasks/{case_id}"})


def _done(result: Result, agent: str) -> Task:
    return Task(
        task_id=result.case_id,
        agent=agent,
        status=result.status,
        output=result.output,
        confidence=result.confidence,
        reason=result.reason,
        degraded={name: each.model_dump(mode="json") for name, each in result.degraded.items()},
        opened_at=result.opened_at.isoformat().replace("+00:00", "Z"),
        closed_at=result.closed_at.isoformat().replace("+00:00", "Z"),
    )


def _task_of(case: CaseView, agent: str) -> Task:
    return Task(
        task_id=case.case_id,
        agent=agent,
        status=case.status,
        output=case.output,
        confidence=case.confidence,
        reason=case.reason,
        degraded=case.degraded,
        opened_at=case.opened_at,
        closed_at=case.closed_at,
    )


async def _lines(parts: Parts, caller: Caller) -> dict[str, AgentLine]:
    if caller.tenant is not None:
        return {}
    try:
        seen = await parts.looked_up(lambda: parts.read.overview(parts.clock()))
    except SetupError:
        return {}
    return {line.agent: line for line in seen.agents}


def _item(parts: Parts, name: str, line: AgentLine | None) -> AgentItem:
    agent = parts.app.agents[name]
    direct = is_direct(parts, name)
    schema = parts.app.data_types[direct_type(name)].json_schema() if direct else {}
    return AgentItem(
        agent=name,
        version=agent.spec.version,
        direct=direct,
        calls=list(agent.spec.calls),
        timeout_s=agent.spec.timeout_s,
        in_flight_max=agent.spec.in_flight_max,
        paused=line.paused if line is not None else False,
        recent=line,
        input_schema=schema,
        output_schema=agent.spec.output_schema,
    )


def _health(parts: Parts, name: str) -> Health:
    agent, settings = parts.app.agents[name], parts.settings
    state = fleet.agent_state(parts.broker, settings, name)
    breakers: dict[str, str] = {
        each.dependency: each.state
        for each in fleet.breakers(state.decisions.values())
        if each.dependency in agent.spec.calls
    }
    status = "ok"
    if state.paused is not None:
        status = "paused"
    elif "open" in breakers.values():
        status = "breaker_open"
    elif state.workers == 0:
        status = "no_workers"
    return Health(
        agent=name,
        version=agent.spec.version,
        status=status,
        workers=state.workers,
        waiting=state.waiting,
        direct=is_direct(parts, name),
        calls=list(agent.spec.calls),
        breakers=breakers,
        paused=state.paused.model_dump(mode="json") if state.paused else None,
    )


async def _order(
    parts: Parts, caller: Caller, agent: str, body: PauseBody, *, paused: bool
) -> Response:
    caller.need("operate")
    caller.need_all_tenants()
    _need_agent(parts, agent)
    order = PauseOrder(
        agent=agent, paused=paused, agent_version=body.agent_version, by=caller.name, why=body.why
    )

    def ask() -> Any:
        now, wait_s = parts.clock(), parts.order_timeout_s
        decided = fleet.order(parts.broker, parts.settings, order, now, wait_s)
        return decided or _standing(parts, agent)

    decided = await parts.waited_for(ask)
    done = isinstance(decided, Pause) and decided.paused == paused
    return answer(Ordered(decided=decided if done else None), 200 if done else 202)


def _standing(parts: Parts, agent: str) -> Any:
    """What holds already: an order that changes nothing is not answered."""
    return fleet.decisions(parts.broker, parts.settings).get(f"pause:{agent}")
