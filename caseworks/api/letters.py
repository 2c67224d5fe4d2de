"""Routes of dead letters: look, and replay or drop them as `caseworks dlq` does."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from caseworks.api.auth import Caller
from caseworks.api.cases import Cursor, Filter, Limit, Strict, Time, aware
from caseworks.api.documents import documented
from caseworks.api.parts import Parts, answer, caller_of, check_json
from caseworks.api.problems import Problem
from caseworks.cli.dlq.asked import Asked
from caseworks.cli.dlq.jobs import Desk
from caseworks.cli.dlq.options import Filters
from caseworks.cli.dlq.tally import Tally
from caseworks.cli.dlq.telling import as_json
from caseworks.dead_mail import changes
from caseworks.dead_mail.audit import Audit
from caseworks.dead_mail.letters import Dead
from caseworks.dead_mail.reading import case_of, find
from caseworks.dead_mail.remedy import Orders, Remedy, World, replay_of, saved_by
from caseworks.dead_mail.standing import Standing, history, standings
from caseworks.projection.views import LetterView, Page
from caseworks.scan import partition_counts
from events.errors import PayloadError, SetupError

AT_ONCE = 2
"""Replays and drops that run at the same time; one more is told to come later."""
LETTERS_MAX = 1_000
TOLD_MAX = 200
"""Letters that an answer tells one by one; the others are counted."""
REPLAYS_MAX = 3

Word = Annotated[str, Field(max_length=1_024)]
Topic = Annotated[str, Field(max_length=300)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Field(ge=0, le=2**62)]


class LetterBody(Strict):
    """Which dead letters, and how. Without `dry_run: false` nothing is done but told."""

    places: Annotated[tuple[Word, ...], Field(max_length=LETTERS_MAX)] = ()
    agent: Word = ""
    reason: Word = ""
    topic: Word = ""
    tenant: Word = ""
    case_id: Word = ""
    since: Annotated[Word, Field(description="`2h`, `7d` or RFC 3339.")] = ""
    until: Word = ""
    where: Annotated[
        Annotated[str, Field(max_length=2_000)],
        Field(description="JMESPath over letter, headers, payload, key, place, agent."),
    ] = ""
    all: bool = False
    dry_run: bool = True
    why: Annotated[str, Field(max_length=1_000)] = ""
    limit: Annotated[int, Field(ge=1, le=LETTERS_MAX)] = 100

    @model_validator(mode="after")
    def _selects(self) -> LetterBody:
        if bool(self.places) == (self.filters().any or self.all):
            raise ValueError("name the dead letters in `places`, or say which by filters or `all`")
        if not self.why and (not self.places or len(self.places) > 1):
            raise ValueError("say `why`: it is for more than one dead letter")
        return self

    def filters(self) -> Filters:
        """The filters as those of the command line."""
        return Filters(
            self.agent,
            self.reason,
            self.since,
            self.until,
            self.tenant,
            self.case_id,
            self.topic,
            self.where,
        )


class ReplayBody(LetterBody):
    """Besides: what is changed, and how fast."""

    patch: Annotated[Any, Field(description="RFC 7396 merge patch of the input or the data.")] = (
        None
    )
    edit: Annotated[Any, Field(description="The whole new input or data, of one letter.")] = None
    rate: Annotated[str, Field(max_length=20, examples=["100/s"])] = "100/s"
    force: bool = False

    @model_validator(mode="after")
    def _changes_once(self) -> ReplayBody:
        if self.edit is not None and (self.patch is not None or len(self.places) != 1):
            raise ValueError("`edit` stands alone, and is for one letter in `places`")
        return self


class LetterDone(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done, or would be done, to one letter; or why it was refused."""

    id: str
    does: str | None = None
    to: str | None = None
    case_id: str | None = None
    changed: str | None = None
    """A unified diff of canonical JSON."""
    refused: str | None = None
    why: str | None = None


class LetterRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay or a drop did, or would do."""

    action: Literal["replay", "drop"]
    dry_run: bool
    done: int
    refused: dict[str, int]
    letters: list[LetterDone]
    """The first so many; the numbers count all."""
    saved: dict[str, Any]
    """What is not done again: `steps`, `tokens`, `usd`."""
    remarks: list[str]


class _Collected(Tally):
    """A tally that is told to nobody at a terminal."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self.letters: list[LetterDone] = []
        self.remarks: list[str] = []

    def tell(self, dead: Dead, done: Remedy | PayloadError) -> None:
        if isinstance(done, PayloadError):
            self.refused[done.reason] += 1
            why = str(done.args[0]).removeprefix(f"{dead.place}: ")
            self._keep(LetterDone(id=id_of(dead.place), refused=done.reason, why=why))
            return
        self.done += 1
        if done.case_id:
            self.reused[done.case_id] = self.reused.get(done.case_id, {}) | dict(done.reused)
        entry = done.entry
        self._keep(
            LetterDone(
                id=id_of(dead.place),
                does=done.told,
                to=entry.to or None,
                case_id=done.case_id or None,
                changed=entry.changed or None,
            )
        )

    def _keep(self, letter: LetterDone) -> None:
        if len(self.letters) < TOLD_MAX:
            self.letters.append(letter)

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def sum_up(self) -> None:
        """The answer does."""


class _Editing(Desk):
    """A desk where the editor is the request."""

    text = b""

    def _edited(self, dead: Dead) -> changes.Given | None:
        return changes.edited(dead, self.settings, self.text.decode())


def routes(parts: Parts) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(tags=["dead letters"])
    _looks(router, parts)
    _runs(router, parts)
    return router


def _looks(router: APIRouter, parts: Parts) -> None:
    @router.get("/letters", **documented(Page[LetterView]))
    async def list_letters(  # noqa: PLR0913 - the filters of a list
        request: Request,
        *,
        agent: Filter = None,
        reason: Filter = None,
        topic: Filter = None,
        tenant: Filter = None,
        case_id: Filter = None,
        state: Annotated[Literal["waiting", "replayed", "dropped"] | None, Query()] = None,
        since: Time = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Dead letters, the newest first."""
        caller = caller_of(request)
        caller.need("read")
        if tenant is not None and not caller.sees(tenant):
            return answer(Page(items=[]))
        page = await parts.looked_up(
            lambda: parts.read.letters(
                agent=agent,
                reason=reason,
                topic=topic,
                tenant=caller.tenant or tenant,
                case_id=case_id,
                state=state,
                since=aware(since),
                limit=limit,
                cursor=cursor,
            )
        )
        return answer(page)

    @router.get("/letters/{topic}/{partition}/{offset}", **documented({"type": "object"}))
    async def show_letter(
        request: Request, topic: Topic, partition: Number, offset: Offset
    ) -> Response:
        """All of one dead letter: its bytes, its case, and what a replay would do."""
        caller = caller_of(request)
        caller.need("read")
        place = f"{topic}:{partition}:{offset}"
        return answer(await parts.looked_up(lambda: _show(parts, caller, place)))


def _runs(router: APIRouter, parts: Parts) -> None:
    busy = asyncio.Semaphore(AT_ONCE)

    @router.post("/letters/replay", **documented(LetterRun))
    async def replay_letters(request: Request, body: ReplayBody) -> Response:
        """Put dead letters back: tasks into their cases, events and commands where they were."""
        caller = caller_of(request)
        check_json(body.patch, body.edit)
        asked = Asked(
            action="replay",
            places=tuple(map(place_of, body.places)),
            filters=_scoped(caller, body),
            all=body.all,
            by=caller.name,
            why=body.why,
            rate=body.rate,
            limit=body.limit,
            replays_max=None if body.force else REPLAYS_MAX,
            force=body.force,
            patch=body.patch,
            edit=body.edit is not None,
            dry_run=body.dry_run,
            yes=True,
        )
        text = b"" if body.edit is None else msgspec.json.encode(body.edit)
        return await _carry_out(parts, busy, caller, asked, text)

    @router.post("/letters/drop", **documented(LetterRun))
    async def drop_letters(request: Request, body: LetterBody) -> Response:
        """Say that nobody will replay these: a case that waits for one fails."""
        caller = caller_of(request)
        if not body.why:
            raise Problem("invalid", "say `why`, for the audit")
        asked = Asked(
            action="drop",
            places=tuple(map(place_of, body.places)),
            filters=_scoped(caller, body),
            all=body.all,
            by=caller.name,
            why=body.why,
            limit=body.limit,
            dry_run=body.dry_run,
            yes=True,
        )
        return await _carry_out(parts, busy, caller, asked, b"")


def id_of(place: str) -> str:
    """`topic:partition:offset` as lists and addresses have it."""
    return place.replace(":", "/")


def place_of(given: str) -> str:
    """The other way round; what is a place already stays."""
    return given.replace("/", ":")


def _scoped(caller: Caller, body: LetterBody) -> Filters:
    caller.need("operate")
    if caller.tenant is not None and body.tenant not in ("", caller.tenant):
        raise Problem("forbidden", f"this key is of the tenant {caller.tenant}")
    found = body.filters()
    if caller.tenant is None or body.places:
        return found
    return replace(found, tenant=caller.tenant)


async def _carry_out(
    parts: Parts, busy: asyncio.Semaphore, caller: Caller, asked: Asked, text: bytes
) -> Response:
    wrong = asked.problem()
    if wrong:
        raise Problem("invalid", wrong.replace("--", ""))
    if busy.locked():
        told = f"{AT_ONCE} replays run already"
        raise Problem("conflict", told, headers={"Retry-After": "5"})
    async with busy:
        return answer(await parts.waited_for(lambda: _serve(parts, caller, asked, text)))


def _serve(parts: Parts, caller: Caller, asked: Asked, text: bytes) -> LetterRun:
    tally = _Collected(asked)
    try:
        for place in asked.places:
            _need_letter(parts, caller, place)
        desk = _Editing(parts.broker, parts.settings, parts.clock, asked, tally)
        desk.text = text
        desk.serve()
    except PayloadError as error:
        raise Problem("conflict", str(error.args[0]), reason=error.reason) from None
    saved = saved_by(tally.reused)
    return LetterRun(
        action=asked.action,
        dry_run=asked.dry_run,
        done=tally.done,
        refused=dict(Counter(tally.refused)),
        letters=tally.letters,
        saved={
            "steps": sum(map(len, tally.reused.values())),
            "tokens": saved.tokens_in + saved.tokens_out,
            "usd": str(saved.usd),
        },
        remarks=tally.remarks,
    )


def _need_letter(parts: Parts, caller: Caller, place: str) -> Dead:
    try:
        found = find(parts.broker, place)
    except (SetupError, PayloadError) as error:
        raise Problem("not-found", str(error.args[0])) from None
    mine = found.message.topic.startswith(f"{parts.settings.namespace}.")
    if not mine or not caller.sees(found.message.header("ce_tenant")):
        raise Problem("not-found", f"there is no dead letter {place}")
    return found


def _show(parts: Parts, caller: Caller, place: str) -> dict[str, Any]:
    dead = _need_letter(parts, caller, place)
    broker, settings, now = parts.broker, parts.settings, parts.clock()
    handled = Audit(broker, settings).last(dead.place)
    case_id = case_of(dead, settings)
    standing, moments = Standing(), list[Any]()
    if case_id:
        standing = standings(broker, settings, [case_id]).get(case_id, standing)
        moments = history(broker, settings, case_id)[1]
    return {
        "id": id_of(dead.place),
        **as_json(dead, settings, now, handled),
        "editable": _editable(dead, parts),
        "case_status": standing.status,
        "timeline": [moment.as_json() for moment in moments],
        "replay": _outlook(parts, dead, standing),
    }


def _editable(dead: Dead, parts: Parts) -> str | None:
    """What a person may change, as text; null: nothing."""
    try:
        return changes.editable(dead, parts.settings) or None
    except PayloadError:
        return None


def _outlook(parts: Parts, dead: Dead, standing: Standing) -> dict[str, Any]:
    """What a replay would do, or why there is none."""
    held = {dead.letter.case_id: standing} if dead.letter.case_id else {}
    world = World(parts.settings, partition_counts(parts.broker), held)
    try:
        remedy = replay_of(dead, world, Orders("", parts.clock()))
    except PayloadError as error:
        why = str(error.args[0]).removeprefix(f"{dead.place}: ")
        return {"possible": False, "why": why, "reason": error.reason}
    saved = standing.saved() if remedy.reused else None
    return {
        "possible": True,
        "does": remedy.told,
        "saves": saved.model_dump(mode="json") if saved else None,
    }
