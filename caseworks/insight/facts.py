"""Results, decisions and ratings -> facts: a `Processor` for the coordinator's loop. Pure.

It runs in the role `insight`, so that facts cost the coordinators nothing; positions and facts are
one transaction, so that each result is one fact whatever is killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from math import isfinite

from pydantic import ValidationError

from coordinator.turn import UNKNOWN, Adopted, Turn
from events.broker import LogEnds, Message, Record, TopicPartition
from events.envelope import WRITER, record_of
from events.topics import Topics
from schemas.approval import ApprovalEnded
from schemas.fact import (
    COUNT_MAX,
    MS_MAX,
    USD_MAX,
    CaseFact,
    DecisionFact,
    Fact,
    FeedbackFact,
    Spent,
    StepFact,
)
from schemas.feedback import Feedback
from schemas.result import Result, StepReport
from schemas.usage import Usage

TEXT_MAX = 256
STEPS_MAX = 1000
OVERRIDES = frozenset({"reject", "correct"})


class UnreadableError(ValueError):
    """A record that is no result, decision or rating, or a broken one; `reason` is a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reads(topics: Topics, workflows: Iterable[str]) -> tuple[str, ...]:
    """The topics that facts are made of."""
    return (*map(topics.results, sorted(workflows)), topics.approvals, topics.feedback)


def fact_of(message: Message, topics: Topics) -> Fact | None:
    """The fact in a record of results, approvals or feedback; `None`: it is about none.

    Raises `UnreadableError`.
    """
    tenant = message.header("ce_tenant")
    kind = message.header("ce_type") or ""
    if message.value is None:
        raise UnreadableError("null_value")
    try:
        if message.topic == topics.approvals:
            if kind != ApprovalEnded.ce_type:
                return None
            return _decided(ApprovalEnded.from_json(message.value), tenant)
        if message.topic == topics.feedback:
            return _rated(Feedback.from_json(message.value))
        return _closed(Result.from_json(message.value), message.header("ce_id") or "", tenant)
    except ValidationError:
        raise UnreadableError("invalid") from None


def _closed(result: Result, result_id: str, tenant: str | None) -> CaseFact:
    return CaseFact(
        case_id=_text(result.case_id),
        result_id=_text(result_id or result.case_id),
        workflow=result.workflow,
        workflow_version=_text(result.workflow_version),
        status=result.status,
        tenant=_text(tenant) if tenant else None,
        event_type=_text(result.event.type),
        event_time=result.event.time,
        at=result.closed_at,
        ms=_ms(result.opened_at, result.closed_at),
        usage=_spent(result.usage),
        confidence=_share(result.confidence),
        degraded=result.status == "degraded" or bool(result.degraded),
        escalated=result.status == "escalated",
        coalesced=result.coalesced_with is not None,
        amends=_text(result.amends) if result.amends else None,
        steps=tuple(
            _step(report, degraded=name in result.degraded)
            for name, report in list(result.steps.items())[:STEPS_MAX]
            if report.agent is not None
        ),
    )


def _step(report: StepReport, *, degraded: bool) -> StepFact:
    assert report.agent is not None  # the caller has looked
    return StepFact(
        agent=report.agent,
        version=_text(report.agent_version),
        status=_text(report.status),
        attempts=_count(report.attempts),
        ms=min(max(0, report.ms), MS_MAX),
        confidence=_share(report.confidence),
        usd=_usd(report.usage.usd),
        degraded=degraded,
    )


def _decided(ended: ApprovalEnded, tenant: str | None) -> DecisionFact:
    if not ended.workflow:
        raise UnreadableError("no_workflow")
    return DecisionFact(
        case_id=_text(ended.case_id),
        approval_id=_text(ended.approval_id),
        workflow=ended.workflow,
        tenant=_text(tenant) if tenant else None,
        ending=ended.ending,
        overridden=ended.ending in OVERRIDES,
        at=ended.ended_at,
    )


def _rated(feedback: Feedback) -> FeedbackFact:
    return FeedbackFact(
        case_id=_text(feedback.case_id),
        feedback_id=_text(feedback.feedback_id),
        workflow=feedback.workflow,
        tenant=_text(feedback.tenant) if feedback.tenant else None,
        rating=feedback.rating,
        corrected=feedback.correction is not None,
        at=feedback.at,
    )


def _text(value: str) -> str:
    return value[:TEXT_MAX]


def _ms(opened: datetime, closed: datetime) -> int:
    """A clock that went back took no time."""
    return min(max(0, round((closed - opened).total_seconds() * 1000)), MS_MAX)


def _share(value: float | None) -> float | None:
    return min(max(value, 0.0), 1.0) if value is not None and isfinite(value) else None


def _count(value: int) -> int:
    return min(max(0, value), COUNT_MAX)


def _usd(value: Decimal) -> Decimal:
    return min(max(value, Decimal(0)), USD_MAX) if value.is_finite() else Decimal(0)


def _spent(usage: Usage) -> Spent:
    return Spent(
        tokens_in=_count(usage.tokens_in),
        tokens_out=_count(usage.tokens_out),
        usd=_usd(usage.usd),
        calls=_count(usage.calls),
    )


class FactWriter:
    """A `Processor` without state: every record that it takes is a fact, nothing, or unreadable."""

    name = "facts"
    changelog: str | None = None

    def __init__(self, topics: Topics, writer_id: str) -> None:
        """*writer_id* is the loop's transactional id."""
        self.topics = topics
        self._headers = ((WRITER, writer_id.encode()),)

    def adopt(self, source: TopicPartition, end: int, now: float) -> Adopted:
        return Adopted(0)

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """There is nothing to restore."""

    def abandon(self, source: TopicPartition) -> None:
        """Nothing is held."""

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """Go on where the group stopped; results from before the first start are facts too."""
        return committed

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> Turn | None:
        """A fact for each record that is one."""
        turn = Turn()
        for message in messages:
            turn.positions[message.source] = message.offset + 1
            try:
                fact = fact_of(message, self.topics)
            except UnreadableError as error:
                turn.count("caseworks_facts_unread_total", reason=error.reason)
                continue
            if fact is not None:
                turn.records.append(self._record(fact, now))
                turn.count("caseworks_facts_total", kind=fact.ce_type.rpartition(".")[2])
        return turn if turn.positions else None

    def reject(self, message: Message, now: float, error: str) -> Turn:
        """A fact that cannot be written is counted and passed: analytics stops for none."""
        turn = Turn()
        turn.positions[message.source] = message.offset + 1
        turn.count("caseworks_facts_unread_total", reason="rejected")
        return turn

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """There is no state to change."""

    def drop(self, turn: Turn) -> None:
        """Nothing to undo."""

    def close(self) -> None:
        """Nothing is held."""

    def _record(self, fact: Fact, now: float) -> Record:
        record = record_of(
            fact,
            fact.ce_type,
            topic=self.topics.facts,
            key=fact.workflow,
            ce_id=id_of(fact),
            source=f"caseworks/{self.topics.namespace}",
            now=now,
        )
        return record._replace(headers=record.headers + self._headers)


def id_of(fact: Fact) -> str:
    """What a fact is about, once: readers may dedupe on it."""
    match fact:
        case CaseFact():
            return fact.result_id
        case DecisionFact():
            return f"{fact.approval_id}:ended"
        case FeedbackFact():
            return fact.feedback_id
