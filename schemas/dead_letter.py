"""The headers of a dead letter: the original record untouched, plus where and why it stopped."""

from __future__ import annotations

from typing import Literal

from schemas.base import Instant, Message

PREFIX = "cw_dlq_"

IntakeReason = Literal[
    "not_json",
    "not_utf8",
    "null_value",
    "too_large",
    "content_type",
    "missing_attribute",
    "duplicate_header",
    "bad_attribute",
    "unknown_type",
    "no_subject",
    "schema",
    "rejected",
]
"""Why intake refuses an event; the label of `caseworks_events_rejected_total`."""


class DeadLetter(Message):
    """What the `cw_dlq_*` headers say, one field per header."""

    topic: str
    partition: int
    offset: int
    timestamp: Instant
    group: str = ""
    reason: str
    error_type: str = ""
    error: str = ""
    stacktrace: str = ""
    attempts: int = 0
    case_id: str | None = None
    task_id: str | None = None
    replays: int = 0
