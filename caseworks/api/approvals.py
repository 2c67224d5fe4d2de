"""Routes of approvals: what people are asked, and their answers."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from caseworks import approvals, inbox
from caseworks.api.auth import Caller
from caseworks.api.cases import NOTE_CHARS_MAX, Cursor, Filter, Limit, Strict
from caseworks.api.documents import documented
from caseworks.api.parts import Parts, answer, caller_of, check_json
from caseworks.api.problems import Problem
from caseworks.projection.views import ApprovalView, Page
from events.errors import PayloadError, SetupError
from schemas.approval import ApprovalEnded
from schemas.commands import Decision

ApprovalId = Annotated[str, Field(max_length=300)]
Verdict = Literal["approve", "reject", "correct"]


class DecisionBody(Strict):
    """An answer, bound to the exact action that was shown."""

    decision: Verdict
    action_hash: Annotated[str, Field(max_length=100, description="Of the action as shown.")]
    output: Annotated[Any, Field(description="What to do instead; exactly for `correct`.")] = None
    note: Annotated[str, Field(max_length=NOTE_CHARS_MAX, description="Why.")] = ""

    @model_validator(mode="after")
    def _has_its_output(self) -> DecisionBody:
        if (self.decision == "correct") != (self.output is not None):
            raise ValueError("say what to do instead in `output`, exactly for `correct`")
        return self


class Decided(BaseModel):
    """What came of a decision. `state`: `decided`, or `sent` when no effect was seen yet."""

    approval_id: str
    state: Literal["decided", "sent"]
    decision: Verdict
    by: str
    ended_at: str | None = None


def routes(parts: Parts) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(tags=["approvals"])

    @router.get("/approvals", **documented(Page[ApprovalView]))
    async def list_approvals(
        request: Request,
        *,
        open: Annotated[bool, Query(description="Only those that still can be answered.")] = True,
        tenant: Filter = None,
        case_id: Filter = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Questions to people: the open ones, the longest waiting first; or all of them."""
        caller = caller_of(request)
        caller.need("read")
        if tenant is not None and not caller.sees(tenant):
            return answer(Page(items=[]))
        page = await parts.looked_up(
            lambda: parts.read.approvals(
                open_only=open,
                tenant=caller.tenant or tenant,
                case_id=case_id,
                limit=limit,
                cursor=cursor,
            )
        )
        return answer(page)

    @router.get("/approvals/{approval_id}", **documented(ApprovalView))
    async def show_approval(request: Request, approval_id: ApprovalId) -> Response:
        """One question."""
        caller = caller_of(request)
        caller.need("read")
        return answer(await _need(parts, caller, approval_id))

    @router.post("/approvals/{approval_id}/decision", **documented(Decided))
    async def decide(request: Request, approval_id: ApprovalId, body: DecisionBody) -> Response:
        """Answer a question. 409 tells what happened when it is too late."""
        caller = caller_of(request)
        caller.need("decide")
        check_json(body.output, body.note)
        await _need(parts, caller, approval_id)
        told = await parts.waited_for(lambda: _decide(parts, caller, approval_id, body))
        return answer(told, 200 if told.state == "decided" else 202)

    return router


async def _need(parts: Parts, caller: Caller, approval_id: str) -> ApprovalView:
    found = await parts.looked_up(lambda: parts.read.approval(approval_id))
    if found is None or not caller.sees(found.tenant):
        raise Problem("not-found", f"nobody asked {approval_id}")
    return found


def _decide(parts: Parts, caller: Caller, approval_id: str, body: DecisionBody) -> Decided:
    """What Kafka says counts, not the projection: it may be a moment behind."""
    broker, settings = parts.broker, parts.settings
    try:
        asked = approvals.need_open(broker, settings, approval_id, parts.clock()).request
    except PayloadError as error:
        raise Problem("conflict", str(error.args[0]), reason=error.reason) from None
    except SetupError as error:
        raise Problem("not-found", str(error.args[0])) from None
    if asked.action_hash != body.action_hash:
        raise Problem(
            "conflict",
            "the action is not the one that was shown: look at it again",
            reason="changed",
            action_hash=asked.action_hash,
        )
    decision = Decision(
        case_id=asked.case_id,
        approval_id=approval_id,
        verdict=body.decision,
        action_hash=body.action_hash,
        by=caller.name,
        correction=body.output,
        note=body.note,
    )
    with closing(approvals.Watch(broker, settings, approval_id)) as watch:
        inbox.send(broker, settings, decision, parts.clock())
        ended = watch.wait(parts.order_timeout_s)
    return _outcome(decision, ended)


def _outcome(decision: Decision, ended: ApprovalEnded | None) -> Decided:
    told = Decided(
        approval_id=decision.approval_id,
        state="sent" if ended is None else "decided",
        decision=decision.verdict,
        by=decision.by,
    )
    if ended is None:
        return told
    if (ended.ending, ended.by) != (decision.verdict, decision.by):
        why = f"it was {approvals.told(ended)}: that came first"
        raise Problem("conflict", why, reason="first", ending=ended.ending, by=ended.by)
    return told.model_copy(update={"ended_at": ended.ended_at.isoformat().replace("+00:00", "Z")})
