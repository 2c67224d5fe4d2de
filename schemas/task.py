"""A task: one attempt at one step, sent to an agent's topic."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from schemas.base import Instant, Message, Name, StepName
from schemas.event import Event
from schemas.usage import NO_LIMIT, Budget

Trust = Literal["trusted", "untrusted"]


def task_id_of(case_id: str, step: str, replay: int = 0) -> str:
    """`case:step[#replay]`: names the task across attempts and agents; its idempotency key."""
    return f"{case_id}:{step}#{replay}" if replay else f"{case_id}:{step}"


class ReplyTo(Message):
    """Where the outcome goes: this very partition of the inbox."""

    topic: str
    partition: int = Field(ge=0)


class Task(Message):
    """Everything an agent needs, in any language. `timeout_s` counts from the start of the run."""

    ce_type: ClassVar[str] = "caseworks.task"

    task_id: str
    case_id: str
    workflow: Name
    workflow_version: str
    step: StepName
    agent: Name
    attempt: PositiveInt
    event: Event
    input: Any = None
    results: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(gt=0)
    deadline: Instant
    budget: Budget = NO_LIMIT
    trust: Trust = "untrusted"
    reply_to: ReplyTo
