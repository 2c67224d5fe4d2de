"""`ctx.effect`: a call that changes the outside world, made at most once unless reconciled.

Theory of operation
-------------------
No protocol can make a call and a record of it one step. So the record comes first: a claim,
acknowledged by the broker and seen by this process as the first one in the log. Only then the call
is made; its result is acknowledged before the attempt may end. Whoever finds a result takes it, and
whoever finds somebody else's claim does not call: the claimant may have died before the call or
behind it. When that claimant has surely ended, the user's `reconcile` asks the outside system; if
it cannot tell, or there is none, the task fails as `effect_unknown` and a person decides
(`caseworks effect resolve`, then `caseworks dlq replay`).

| seen in the log | then |
|---|---|
| nothing, or `failed` | claim; the first one calls |
| own claim, first | the call; `done`, `failed` (`PermanentError`, `NotDoneError`,
  `DependencyOpenError`), or `unknown` (any other error, or cancelled) |
| another's claim, its claimant may still be at it | `deferred` until it has ended |
| another's claim, over | `reconcile`: `done` or `failed`; else `effect_unknown` |
| `done` | its result, without a call |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import Parameter, isawaitable, signature
from itertools import count
from typing import Any, Protocol, assert_never

from pydantic_core import PydanticSerializationError, from_json, to_json

from agents.effects.answers import DidNotHappen, Finding, Happened, Unclear
from agents.effects.states import Standing, Verdict, read_effect
from agents.effects.tail import Tail
from events import metrics
from events.broker import Headers, Record
from events.envelope import record_of
from events.errors import (
    DeclarationError,
    DependencyOpenError,
    EffectBusyError,
    EffectUnknownError,
    NotDoneError,
    PermanentError,
    TransientError,
)
from events.topics import Topics
from schemas.base import instant
from schemas.effect import Effect, EffectState
from schemas.outcome import Delivery

ERROR_CHARS = 500
RESULT_BYTES_MAX = 65_536
SLACK_S = 1.0
"""How far clocks of workers may be apart before a claim is taken for over too early."""
ROUNDS_MAX = 5
"""How often a claim is tried for when others come between."""

Call = Callable[..., Awaitable[Any] | Any]
Reconcile = Callable[..., Awaitable[Finding]]
NOT_DONE = (PermanentError, NotDoneError, DependencyOpenError)
"""What a call raises that did not happen, for certain."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One effect of one attempt."""

    effect_id: str
    case_id: str
    task_id: str
    key: str
    partition: int
    """Of the case's inbox, and so of the ledger."""
    agent: str
    attempt: int
    until_s: float
    """When the attempt has ended at the latest, in seconds since the epoch."""
    time_left_s: Callable[[], float]
    delivery: Delivery | None = None
    travelling: Headers = ()


Calling = Callable[[str], None]


class EffectPort(Protocol):
    """Makes outside calls at most once."""

    async def once(self, wanted: Wanted, call: Call, reconcile: Reconcile | None) -> Any:
        """The result of the call, as plain JSON, whoever made it and when."""

    def watch(self, calling: Calling) -> None:
        """Have each effect's id told before its call; for the simulator, which counts."""

    def close(self) -> None:
        """Free what is held."""


class NoEffects:
    """Stands where there is no ledger: every use says so."""

    async def once(self, wanted: Wanted, call: Call, reconcile: Reconcile | None) -> Any:
        """Raises `DeclarationError`."""
        raise DeclarationError(
            f"there is no ledger for the effect {wanted.key!r}",
            hint="run the agent by caseworks.testing.play or a worker",
        )

    def watch(self, calling: Calling) -> None:
        """There is nothing to watch."""

    def close(self) -> None:
        """Nothing to free."""


NO_EFFECTS: EffectPort = NoEffects()


@dataclass
class Effects:
    """The ledger's protocol for the agents of one process.

    Args:
        tail: Reads and writes the ledger.
        topics: Of the namespace.
        worker: The process's name; two processes that live have two names for each agent.
        clock: Seconds since the epoch.
    """

    tail: Tail
    topics: Topics
    worker: str
    clock: Callable[[], float]
    telemetry: metrics.Telemetry = metrics.NULL
    _numbers: count[int] = field(default_factory=count)
    _life: str = ""
    _calling: list[Calling] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._life = f"{int(self.clock() * 1e6):x}"

    async def once(self, wanted: Wanted, call: Call, reconcile: Reconcile | None) -> Any:
        """See `EffectPort`. Raises what the call raises, and as the table above says."""
        for _ in range(ROUNDS_MAX):
            standing = await self.tail.standing(wanted.partition, wanted.effect_id)
            if standing.state == "free":
                verdict = await self._claimed(wanted)
                if verdict.won:
                    return await self._made(wanted, verdict.offset, call)
                standing = verdict.standing
            if standing.state == "done":
                self._count(wanted, "found")
                return await self._result(wanted, standing.offset)
            if standing.state != "free":
                found = await self._reconciled(wanted, standing, reconcile)
                if found is not None:
                    return found.result
        raise EffectBusyError(f"effect {wanted.effect_id}: others claim it", retry_after_s=SLACK_S)

    def watch(self, calling: Calling) -> None:
        self._calling.append(calling)

    def close(self) -> None:
        self.tail.close()

    # --- claiming

    async def _claimed(self, wanted: Wanted) -> Verdict:
        """A claim, acknowledged and seen. A cancelled one is taken back if it was won."""
        nonce = f"{self.worker}:{wanted.agent}:{self._life}:{next(self._numbers)}"
        record = self._record(wanted, "pending", nonce=nonce, until=instant(wanted.until_s))
        claiming = self.tail.aside(self.tail.claim(record, nonce))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self.tail.aside(self._taken_back(wanted, claiming))
            raise

    async def _taken_back(self, wanted: Wanted, claiming: asyncio.Task[Verdict]) -> None:
        verdict = await claiming
        if verdict.won:
            await self._say(wanted, "failed", verdict.offset, error="cancelled before its call")

    # --- calling

    async def _made(self, wanted: Wanted, claim: int, call: Call) -> Any:
        """The call, and what became of it; the claim is ours."""
        if wanted.time_left_s() <= 0:
            await self._say(wanted, "failed", claim, error="out of time before its call")
            raise TransientError(f"effect {wanted.effect_id}: out of time before its call")
        for calling in self._calling:
            calling(wanted.effect_id)
        try:
            value = await _called(call, wanted.effect_id)
        except NOT_DONE as error:
            await self._say(wanted, "failed", claim, error=_text(error))
            raise
        except asyncio.CancelledError:
            why = "cancelled in the middle of its call"
            self.tail.aside(self._say(wanted, "unknown", claim, error=why))
            raise
        except Exception as error:
            await self._say(wanted, "unknown", claim, error=_text(error))
            raise
        result, problem = _plain(value)
        await self._say(wanted, "done", claim, result=result, error=problem)
        if problem:
            raise PermanentError(f"effect {wanted.effect_id}: {problem}")
        return result

    async def _say(self, wanted: Wanted, state: EffectState, claim: int, **fields: Any) -> None:
        """Write what became of a claim, to the end even if this attempt is cancelled."""
        self._count(wanted, state)
        record = self._record(wanted, state, claim=claim, **fields)
        await asyncio.shield(self.tail.aside(self.tail.write(record)))

    # --- what others did

    async def _result(self, wanted: Wanted, offset: int) -> Any:
        message = await self.tail.load(wanted.partition, offset)
        effect = read_effect(message) if message is not None else None
        if effect is None:
            raise EffectUnknownError(
                f"effect {wanted.effect_id} happened, and its record is gone",
                hint=_hint(wanted),
            )
        if effect.error:
            raise PermanentError(f"effect {wanted.effect_id}: {effect.error}")
        return effect.result

    async def _reconciled(
        self, wanted: Wanted, standing: Standing, reconcile: Reconcile | None
    ) -> Happened | None:
        """What is found out about another's claim; `None`: it is free again.

        Raises `EffectBusyError` while its claimant may be at it, and `EffectUnknownError`.
        """
        message = await self.tail.load(wanted.partition, standing.offset)
        claim = read_effect(message) if message is not None else None
        if standing.state == "claimed" and claim is not None:
            self._wait_for(wanted, claim)
        finding: Finding = Unclear("no reconcile function was given")
        if reconcile is not None:
            finding = await _called(reconcile, wanted.effect_id)
        match finding:
            case Happened(value):
                result, problem = _plain(value)
                said = {"result": result, "error": problem, "by": "reconcile"}
                await self._say(wanted, "done", standing.offset, **said)
                return Happened(result)
            case DidNotHappen():
                await self._say(wanted, "failed", standing.offset, by="reconcile")
                return None
            case Unclear(why):
                self._count(wanted, "unclear")
                raise EffectUnknownError(_unclear(wanted, claim, why), hint=_hint(wanted))
            case _:
                assert_never(finding)

    def _wait_for(self, wanted: Wanted, claim: Effect) -> None:
        """Raises `EffectBusyError` while a claimant may be at it.

        An earlier life of this very process is over: names are unique.
        """
        same = (claim.worker, claim.agent) == (self.worker, wanted.agent)
        if (same and claim.life != self._life) or claim.until is None:
            return
        whole_s = (claim.until - claim.at).total_seconds()
        left_s = min(claim.until.timestamp() - self.clock(), whole_s) + SLACK_S
        if left_s > 0:
            self._count(wanted, "busy")
            raise EffectBusyError(
                f"effect {wanted.effect_id}: {claim.worker} may be at it", retry_after_s=left_s
            )

    # --- records

    def _record(
        self, wanted: Wanted, state: EffectState, *, nonce: str = "", **fields: Any
    ) -> Record:
        now = self.clock()
        effect = Effect(
            effect_id=wanted.effect_id,
            case_id=wanted.case_id,
            task_id=wanted.task_id,
            key=wanted.key,
            state=state,
            at=instant(now),
            agent=wanted.agent,
            attempt=wanted.attempt,
            worker=self.worker,
            life=self._life,
            delivery=wanted.delivery,
            **fields,
        )
        return record_of(
            effect,
            Effect.ce_type,
            topic=self.topics.effects,
            key=wanted.effect_id,
            ce_id=nonce or f"{self.worker}:{wanted.agent}:{self._life}:{next(self._numbers)}",
            source=f"caseworks/{self.topics.namespace}/{self.worker}",
            now=now,
            travelling=wanted.travelling,
            partition=wanted.partition,
        )

    def _count(self, wanted: Wanted, state: str) -> None:
        self.telemetry.count("caseworks_effects_total", agent=wanted.agent, state=state)


async def _called(function: Callable[..., Any], effect_id: str) -> Any:
    """Call it, with the id if it takes an argument."""
    made = function(effect_id) if _takes_id(function) else function()
    return await made if isawaitable(made) else made


def _takes_id(function: Callable[..., Any]) -> bool:
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, and silent about it
        return False
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return any(each.kind in places and each.default is Parameter.empty for each in parameters)


def _plain(value: Any) -> tuple[Any, str]:
    """A result as plain JSON, or why it cannot be kept."""
    try:
        written = to_json(value)
        if len(written) > RESULT_BYTES_MAX:
            return None, f"it happened; its result of {len(written)} bytes is over the limit"
        return from_json(written), ""
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        return None, f"it happened; its result is not JSON: {_text(error)}"


def _text(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"[:ERROR_CHARS]
    return text.encode("utf-8", "replace").decode()


def _unclear(wanted: Wanted, claim: Effect | None, why: str) -> str:
    who = "a record that cannot be read"
    if claim is not None:
        who = f"{claim.worker} (attempt {claim.attempt}, {claim.at:%Y-%m-%d %H:%M:%S})"
    return f"effect {wanted.effect_id} was begun by {who}; nobody knows if it happened: {why}"


def _hint(wanted: Wanted) -> str:
    return (
        f"find out, then: caseworks effect resolve '{wanted.effect_id}' --happened RESULT | "
        f"--did-not-happen; caseworks dlq replay --case {wanted.case_id}"
    )
