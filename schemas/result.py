"""What a case publishes when it closes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base import Instant, Message, Name
from schemas.event import EventRef
from schemas.usage import NOTHING, Usage

ResultStatus = Literal["completed", "degraded", "escalated", "failed", "expired", "cancelled"]
RESULT_STATUSES: tuple[ResultStatus, ...] = (
    "completed",
    "degraded",
    "escalated",
    "failed",
    "expired",
    "cancelled",
)


class StepReport(Message):
    """How one step ended."""

    status: str
    attempts: int = 0
    agent: Name | None = None
    agent_version: str = ""
    confidence: float | None = None
    usage: Usage = NOTHING
    ms: int = 0
    """Wall time from the first send to the end, in milliseconds."""
    items: int = 0
    """Of a `map`: how many items the list had, and how many of them were given up."""
    items_failed: int = 0
    error: str | None = None


class Degraded(Message):
    """What a step ended with instead of the output of its own agent, and why."""

    link: str
    """The agent that answered instead, `cache`, `escalate`, `skipped`, `last_round` (of a loop) or
    `items` (of a map, some of which are missing or degraded)."""
    why: tuple[str, ...] = ()
    """What went wrong, first things first: `<agent>: <kind>: <message>`."""


class UndoReport(Message):
    """How the undoing of one finished step ended: `done`, or `failed` and why."""

    status: str
    attempts: int = 0
    agent: Name | None = None
    error: str | None = None


class Result(Message):
    """The one answer to an event. `ce_id` is `case_id:n`; `amends` names the one it corrects."""

    case_id: str
    workflow: Name
    workflow_version: str
    status: ResultStatus
    output: Any = None
    confidence: float | None = None
    reason: str | None = None
    steps: dict[str, StepReport]
    degraded: dict[str, Degraded] = Field(default_factory=dict)
    """By step: who or what stood in, and why."""
    undone: dict[str, UndoReport] = Field(default_factory=dict)
    """Of a failed, expired or cancelled case: the steps that had an undo."""
    usage: Usage = NOTHING
    event: EventRef
    opened_at: Instant
    closed_at: Instant
    amends: str | None = None
    coalesced_with: str | None = None
    """The case whose result this is: its event was identical, and came first."""
