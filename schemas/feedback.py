"""What a person thought of a case's result: `{ns}.feedback`, for analytics and as examples."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from schemas.base import Instant, Message, Name


class Feedback(Message):
    """A rating, a correction, or both; the same id twice is one."""

    ce_type: ClassVar[str] = "caseworks.feedback"

    feedback_id: str
    case_id: str
    workflow: Name
    workflow_version: str = ""
    tenant: str | None = None
    rating: int | None = Field(default=None, ge=1, le=5)
    """5 is best."""
    correction: Any = None
    """What the output should have been; null: it says nothing of that."""
    note: str = ""
    by: str = ""
    at: Instant
