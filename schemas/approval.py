"""What a person is asked, and how it ended: `{ns}.approvals`, for consoles and chat bots."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, ClassVar, Literal

from schemas.base import Instant, Message, Name
from schemas.event import EventRef

ApprovalEnding = Literal["approve", "reject", "correct", "expired", "withdrawn"]


def action_hash_of(action: Any) -> str:
    """The hash that binds a decision to this exact action: SHA-256 of its canonical JSON."""
    text = json.dumps(action, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ApprovalRequested(Message):
    """A case waits for a person; answer with a `caseworks.decision` that carries the hash."""

    ce_type: ClassVar[str] = "caseworks.approval.requested"

    approval_id: str
    case_id: str
    workflow: Name
    step: str
    action: Any = None
    action_hash: str
    confidence: float | None = None
    why: str = ""
    event: EventRef
    asked_at: Instant
    expires_at: Instant
    on_expiry: str


class ApprovalEnded(Message):
    """The question is answered, or nobody may answer it any more."""

    ce_type: ClassVar[str] = "caseworks.approval.ended"

    approval_id: str
    case_id: str
    workflow: str = ""
    """Of the question; empty from earlier coordinators, like `step`."""
    step: str = ""
    ending: ApprovalEnding
    by: str = ""
    note: str = ""
    """Why, as they said it."""
    ended_at: Instant
