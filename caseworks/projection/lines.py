"""Rows of the projection as items of lists. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from caseworks.projection.measures import instant_of, usd_of
from caseworks.projection.views import ApprovalView, CaseLine, LetterView

CASE_COLUMNS = (
    "case_id, workflow, status, tenant, subject, type, opened, closed, nanousd, confidence, "
    "degraded, updated"
)
APPROVAL_COLUMNS = "approval_id, case_id, tenant, status, by, request"
LETTER_COLUMNS = (
    "l.place, l.topic, l.agent, l.reason, l.error, l.at, l.case_id, l.task_id, l.tenant, "
    "l.attempts, l.replays, coalesce(h.action, 'waiting'), l.size"
)


def case_line(row: Any) -> CaseLine:
    """A row of `CASE_COLUMNS`."""
    opened, closed = row[6], row[7]
    return CaseLine(
        case_id=row[0],
        workflow=row[1] or "",
        status=row[2],
        tenant=row[3],
        subject=row[4],
        type=row[5],
        opened_at=instant_of(opened),
        closed_at=instant_of(closed),
        ms=None if opened is None or closed is None else max(0, closed - opened),
        usd=usd_of(row[8]),
        confidence=row[9],
        degraded=bool(row[10]),
        updated_at=instant_of(row[11]) or "",
    )


def approval_view(row: Any) -> ApprovalView:
    """A row of `APPROVAL_COLUMNS`."""
    asked: dict[str, Any] = msgspec.json.decode(row[5])
    return ApprovalView(
        approval_id=row[0],
        case_id=row[1],
        tenant=row[2],
        status=row[3],
        by=json.loads(row[4]),
        workflow=asked["workflow"],
        step=asked["step"],
        action=asked.get("action"),
        action_hash=asked["action_hash"],
        confidence=asked.get("confidence"),
        why=asked.get("why", ""),
        asked_at=asked["asked_at"],
        expires_at=asked["expires_at"],
        on_expiry=asked["on_expiry"],
        needed=asked.get("needed", 1),
        context=asked.get("context") or asked.get("event"),
    )


def letter_view(row: Any) -> LetterView:
    """A row of `LETTER_COLUMNS`."""
    return LetterView(
        id=row[0],
        topic=row[1],
        agent=row[2],
        reason=row[3],
        error=row[4],
        at=instant_of(row[5]) or "",
        case_id=row[6],
        task_id=row[7],
        tenant=row[8],
        attempts=row[9],
        replays=row[10],
        state=row[11],
        size=row[12],
    )
