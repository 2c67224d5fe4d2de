"""The state of a case, as its changelog `{ns}.cases` holds it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base import Message, Name
from schemas.event import Event
from schemas.outcome import Failure
from schemas.usage import Usage

CASE_VERSION = 1

StepStatus = Literal[
    "waiting", "sent", "retrying", "done", "skipped", "failed", "parked", "abandoned"
]
CaseStatus = Literal[
    "open",
    "waiting",
    "parked",
    "completed",
    "degraded",
    "escalated",
    "failed",
    "expired",
    "cancelled",
]
CLOSED: frozenset[CaseStatus] = frozenset(
    ("completed", "degraded", "escalated", "failed", "expired", "cancelled")
)


class StepState(Message):
    """One step of a running case; times are seconds since the epoch."""

    status: StepStatus = "waiting"
    agent: Name | None = None
    attempt: int = 0
    """Number of the last send; names the attempt on the wire."""
    burnt: int = 0
    """Attempts that count towards `attempts_max` (a deferral burns none)."""
    replay: int = 0
    due: float | None = None
    """When a retrying step is sent again."""
    deadline: float | None = None
    """The backstop of a sent step."""
    first_sent: float | None = None
    ended: float | None = None
    output: Any = None
    confidence: float | None = None
    agent_version: str = ""
    error: Failure | None = None
    usage: Usage | None = None
    degraded: bool = False
    """It ended on its fallback or was skipped."""


class Case(Message):
    """One run of a workflow for one event; times are seconds since the epoch."""

    v: int = CASE_VERSION
    case_id: str
    workflow: Name
    workflow_version: str
    event: Event
    status: CaseStatus = "open"
    opened: float
    deadline: float
    closed: float | None = None
    steps: dict[str, StepState] = Field(default_factory=dict)
    reason: str | None = None
    published: int = 0
    """Results published so far; the next one's `ce_id` is `case_id:published+1`."""
    dead_letters: tuple[str, ...] = ()
    """Task ids with a live dead letter: the case is kept for their replay."""
    replays: tuple[str, ...] = ()
    """Ids of the replay commands already applied (I9)."""
    usage: Usage | None = None


class ClosedCase(Message):
    """What the changelog keeps of a closed case for the dedupe window."""

    closed: float
    status: CaseStatus
    v: int = CASE_VERSION


class Position(Message):
    """The position record (key: a null byte and "pos") of a `cases` partition (rule 3).

    Says how far the inbox was applied when this changelog record was written.
    """

    v: int = CASE_VERSION
    inbox: int
