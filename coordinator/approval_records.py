"""Questions to people as records of `{ns}.approvals`, written in the case's own transaction."""

from __future__ import annotations

from coordinator.effects import Answered, Ask
from coordinator.records import Writer
from coordinator.workflow import Plan
from events.broker import Record
from events.envelope import record_of, travelling_of
from schemas.approval import ApprovalEnded, ApprovalRequested
from schemas.base import instant
from schemas.lean_case import Case


def requested(writer: Writer, case: Case, plan: Plan, effect: Ask, now: float) -> Record:
    """What a step asks; the case says what exactly, and until when."""
    state, step = case.steps[effect.step], plan.steps[effect.step]
    question = state.question
    if question is None:
        raise ValueError(f"step {effect.step} asks, but holds no question")
    request = ApprovalRequested.trusted(
        approval_id=question.approval_id,
        case_id=case.case_id,
        workflow=case.workflow,
        step=effect.step,
        action=question.action,
        action_hash=question.action_hash,
        confidence=question.confidence,
        why=effect.why,
        event=case.event.ref(),
        asked_at=instant(now),
        expires_at=instant(min(state.deadline or case.deadline, case.deadline)),
        on_expiry=step.approval.on_expiry if step.approval else step.on_expiry,
    )
    return _record(writer, case, request, f"{question.approval_id}:asked", now)


def ended(writer: Writer, case: Case, effect: Answered, now: float) -> Record:
    """How a question ended."""
    ending = ApprovalEnded.trusted(
        approval_id=effect.question.approval_id,
        case_id=case.case_id,
        workflow=case.workflow,
        step=effect.step,
        ending=effect.ending,
        by=effect.by,
        note=effect.note,
        ended_at=instant(now),
    )
    return _record(writer, case, ending, f"{effect.question.approval_id}:ended", now)


def _record(
    writer: Writer, case: Case, message: ApprovalRequested | ApprovalEnded, name: str, now: float
) -> Record:
    """A case that is opened again may ask the same once more: its results tell the two apart."""
    return record_of(
        message,
        message.ce_type,
        topic=writer.topics.approvals,
        key=case.case_id,
        ce_id=f"{name}:{case.published}",
        source=writer.source,
        now=now,
        travelling=travelling_of(case.event),
    )
