"""Routes of cases and tasks: look, cancel, signal, and say what one thinks of a result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from caseworks.api.documents import documented
from caseworks.api.idempotency import key_of
from caseworks.api.parts import Parts, answer, caller_of, check_json
from caseworks.api.problems import Problem
from caseworks.projection.views import CaseLine, CaseView, Page
from events.envelope import record_of
from schemas.base import instant
from schemas.commands import Cancel, Signal
from schemas.feedback import Feedback
from schemas.lean_case import CLOSED

LIMIT_MAX = 500
NOTE_CHARS_MAX = 4_000
Text = Annotated[str, Field(max_length=NOTE_CHARS_MAX)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items of one page.")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next` of the page before this one.")
]
Filter = Annotated[str | None, Query(max_length=1_024)]
Time = Annotated[datetime | None, Query(description="RFC 3339.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="The same key again is the same request, and does nothing more.",
    ),
]
CaseId = Annotated[str, Field(max_length=200, examples=["0d6a5c2b-6c1b-5d8e-9c57-2d5f8f0e7a11"])]


class Strict(BaseModel):
    """A body whose every field is known: what is misspelt is told, not ignored."""

    model_config = ConfigDict(extra="forbid")


class CancelBody(Strict):
    """Why a case is stopped."""

    reason: Text = ""


class SignalBody(Strict):
    """What a waiting step hears."""

    name: Annotated[str, Field(min_length=1, max_length=1_024)]
    data: Any = None


class FeedbackBody(Strict):
    """A rating, a correction, or both."""

    rating: Annotated[int | None, Field(ge=1, le=5, description="5 is best.")] = None
    correction: Annotated[Any, Field(description="What the output should have been.")] = None
    note: Text = ""

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if self.rating is None and self.correction is None and not self.note:
            raise ValueError("say a rating, a correction or a note")
        return self


class Told(BaseModel):
    """The case was told; what comes of it shows in the case."""

    case_id: str
    told: str
    id: str | None = None


def routes(parts: Parts) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(tags=["cases"])
    _looks(router, parts)
    _commands(router, parts)
    _feedback(router, parts)
    return router


def _looks(router: APIRouter, parts: Parts) -> None:
    @router.get("/cases", **documented(Page[CaseLine]))
    async def list_cases(  # noqa: PLR0913 - the filters of a list
        request: Request,
        *,
        status: Annotated[
            str | None,
            Query(max_length=40, description="`open`, or one of the statuses of a case."),
        ] = None,
        workflow: Filter = None,
        tenant: Filter = None,
        subject: Filter = None,
        q: Annotated[
            str | None, Query(max_length=200, description="Part of a subject, type or id.")
        ] = None,
        since: Time = None,
        until: Time = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Cases, the newest first."""
        caller = caller_of(request)
        caller.need("read")
        if tenant is not None and not caller.sees(tenant):
            return answer(Page(items=[]))
        page = await parts.looked_up(
            lambda: parts.read.cases(
                status=status,
                workflow=workflow,
                tenant=caller.tenant or tenant,
                subject=subject,
                q=q,
                since=aware(since),
                until=aware(until),
                limit=limit,
                cursor=cursor,
            )
        )
        return answer(page)

    @router.get("/cases/{case_id}", **documented(CaseView))
    async def show_case(request: Request, case_id: CaseId) -> Response:
        """All of one case: its steps, times, inputs, outputs, questions and dead letters."""
        caller = caller_of(request)
        caller.need("read")
        return answer(await parts.need_case(caller, case_id))


def _commands(router: APIRouter, parts: Parts) -> None:
    @router.post("/cases/{case_id}/cancel", status_code=202, **documented(Told, 202))
    async def cancel_case(
        request: Request, case_id: CaseId, body: CancelBody | None = None
    ) -> Response:
        """Stop a case: what can be undone is undone, and it ends as `cancelled`."""
        caller = caller_of(request)
        caller.need("operate")
        _need_open(await parts.need_case(caller, case_id))
        reason = body.reason if body else ""
        await parts.tell_case(Cancel(case_id=case_id, reason=reason, by=caller.name))
        return answer(Told(case_id=case_id, told="cancel"), 202, _at(case_id))

    @router.post("/cases/{case_id}/signal", status_code=202, **documented(Told, 202))
    async def signal_case(
        request: Request, case_id: CaseId, body: SignalBody, key: IdempotencyKey = None
    ) -> Response:
        """Tell a case what one of its steps waits for, as the correlated event would."""
        caller = caller_of(request)
        caller.need("publish")
        check_json(body.data)
        _need_open(await parts.need_case(caller, case_id))
        signal_id = _id_of(caller.name, case_id, "signal", key)
        signal = Signal(case_id=case_id, name=body.name, data=body.data, signal_id=signal_id)
        await parts.tell_case(signal)
        return answer(Told(case_id=case_id, told="signal", id=signal_id), 202, _at(case_id))


def _feedback(router: APIRouter, parts: Parts) -> None:
    @router.post("/cases/{case_id}/feedback", status_code=202, **documented(Told, 202))
    async def give_feedback(
        request: Request, case_id: CaseId, body: FeedbackBody, key: IdempotencyKey = None
    ) -> Response:
        """Say what one thinks of a result: a rating of 1 to 5, what would be right, a note."""
        caller = caller_of(request)
        caller.need("publish")
        check_json(body.correction)
        case = await parts.need_case(caller, case_id)
        feedback = Feedback(
            feedback_id=_id_of(caller.name, case_id, "feedback", key),
            case_id=case_id,
            workflow=case.workflow,
            workflow_version=case.workflow_version,
            tenant=case.tenant,
            rating=body.rating,
            correction=body.correction,
            note=body.note,
            by=caller.name,
            at=instant(parts.clock()),
        )
        await parts.outbox.send(
            [
                record_of(
                    feedback,
                    feedback.ce_type,
                    topic=parts.settings.topics.feedback,
                    key=case_id,
                    ce_id=feedback.feedback_id,
                    source="caseworks/api",
                    now=parts.clock(),
                )
            ]
        )
        told = Told(case_id=case_id, told="feedback", id=feedback.feedback_id)
        return answer(told, 202, _at(case_id))


def _need_open(case: CaseView) -> None:
    if case.status in CLOSED:
        raise Problem("conflict", f"the case has ended: {case.status}", status_now=case.status)


def _id_of(caller: str, case_id: str, what: str, key: str | None) -> str:
    """Made of the key where there is one: sent twice, it counts once."""
    given = key_of(key)
    if given is None:
        return str(uuid4())
    return str(uuid5(NAMESPACE_URL, f"caseworks/api\n{caller}\n{what}\n{case_id}\n{given}"))


def _at(case_id: str) -> dict[str, str]:
    return {"Location": f"/api/v1/cases/{case_id}"}


def aware(time: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
