"""What a worker says of an attempt, and the progress it reports on the way."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Base64Bytes, Field

from schemas.base import Instant, Message, Name, StepName
from schemas.usage import NOTHING, Usage

OutcomeStatus = Literal["done", "failed", "retry", "halted", "deferred", "delegate", "escalate"]


class Failure(Message):
    """Why an attempt did not succeed. `kind` is a short stable word, `message` is for people."""

    kind: str
    message: str = ""
    retry_after_s: float | None = Field(default=None, ge=0)


class Delivery(Message):
    """The record of the task that the worker worked on."""

    topic: str
    partition: int
    offset: int
    timestamp: Instant


class Delegate(Message):
    """A step that an agent asks for before its own can end; `after` names siblings."""

    name: StepName
    agent: Name
    input: Any = None
    """What the agent gets where it would get the event's data; null: the event's data."""
    after: tuple[StepName, ...] = ()


class Outcome(Message):
    """The end of one attempt. On failure `task` holds the bytes of the task, base64."""

    ce_type: ClassVar[str] = "caseworks.outcome"

    task_id: str
    case_id: str
    agent: Name
    attempt: int
    status: OutcomeStatus
    output: Any = None
    error: Failure | None = None
    confidence: float = Field(default=1.0, ge=0, le=1)
    usage: Usage = NOTHING
    agent_version: str = ""
    worker: str = ""
    delivery: Delivery | None = None
    started_at: Instant
    finished_at: Instant
    task: Base64Bytes | None = None
    delegates: tuple[Delegate, ...] = ()
    """With `delegate`: the new steps; the step ends with their output."""
    trace: tuple[str, ...] = ()
    """What a halted agent did last, newest last, shortened."""


class Progress(Message):
    """A sign of life from a running attempt; re-arms the step's backstop."""

    ce_type: ClassVar[str] = "caseworks.progress"

    task_id: str
    case_id: str
    agent: Name
    attempt: int
    message: str = ""
    fraction: float | None = Field(default=None, ge=0, le=1)
