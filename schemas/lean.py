"""Messages as the hot paths read them: a fifth of the time that their models take.

The models are the contract; these read the same fields with the same defaults (a test compares
them), except that nobody looks whether a name is well formed. What the quick reader refuses, the
model reads again: so the models decide what is an error and what it is called, and odd but valid
spellings are understood.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.base import Message
from schemas.event import Priority
from schemas.task import Task, Trust

Instant = Annotated[datetime, Meta(tz=True)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
L = TypeVar("L", bound=Struct)


class Lean(Struct, frozen=True, gc=False):
    """Without a part in the garbage collection: a message has no circles."""


class LeanEvent(Lean, frozen=True, gc=False):
    """See `schemas.event.Event`."""

    id: str
    source: str
    type: str
    time: Instant
    subject: str | None = None
    data: Any = None
    tenant: str | None = None
    priority: Priority = "normal"
    deadline: Instant | None = None
    dataclass: str | None = None
    traceparent: str | None = None


class LeanBudget(Lean, frozen=True, gc=False):
    """See `schemas.usage.Budget`."""

    tokens: NotNegative | None = None
    usd: Decimal | None = None
    calls: NotNegative | None = None
    iterations: NotNegative | None = None


class LeanReplyTo(Lean, frozen=True, gc=False):
    """See `schemas.task.ReplyTo`."""

    topic: str
    partition: NotNegative


class LeanTask(Lean, frozen=True, gc=False):
    """See `schemas.task.Task`."""

    task_id: str
    case_id: str
    workflow: str
    workflow_version: str
    step: str
    agent: str
    attempt: Positive
    event: LeanEvent
    timeout_s: Annotated[float, Meta(gt=0)]
    deadline: Instant
    reply_to: LeanReplyTo
    input: Any = None
    results: dict[str, Any] = msgspec.field(default_factory=dict)
    budget: LeanBudget = LeanBudget()
    trust: Trust = "untrusted"


_tasks = msgspec.json.Decoder(LeanTask)


def read_task(data: bytes) -> LeanTask:
    """Parse UTF-8 JSON. Raises `ValueError`: pydantic's, or for NaN and infinity another."""
    task = _read(_tasks, Task, data)
    usd = task.budget.usd
    if usd is not None and not usd.is_finite():
        Task.from_json(data)  # the model says what is wrong with it
    return task


def _read(quick: msgspec.json.Decoder[L], model: type[Message], data: bytes) -> L:
    try:
        return quick.decode(data)
    except (ValueError, RecursionError):  # those of msgspec are ValueErrors
        return quick.decode(model.from_json(data).to_json())
