"""A task: one attempt at one step, sent to an agent's topic."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, PositiveInt, StringConstraints

from schemas.base import Instant, Message, Name
from schemas.event import Event
from schemas.usage import NO_LIMIT, Budget

Trust = Literal["trusted", "untrusted"]
StepPath = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,254}$")]
"""A step, or one that a step's agent asked for: `triage`, `triage.lookup`."""


class TaskName(NamedTuple):
    """What a task id says beside its case."""

    step: str
    item: int | None = None
    """Of a `map`'s item."""
    iteration: int = 0
    replay: int = 0
    undo: bool = False

    @property
    def key(self) -> str:
        """The step, or the item of a `map`: `check`, `check:17`."""
        return self.step if self.item is None else f"{self.step}:{self.item}"


_TASK_NAME = re.compile(
    r"(?P<step>[a-z][a-z0-9_.]*)(?::(?P<index>\d{1,9}))?(?P<undo>~undo)?"
    r"(?:@(?P<iteration>\d{1,9}))?(?:#(?P<replay>\d{1,9}))?",
    re.ASCII,
)


def task_id_of(case_id: str, step: str, replay: int = 0, iteration: int = 0) -> str:
    """`case:step[:index][~undo][@iteration][#replay]`; `step` may hold index and `~undo`.

    Names the task across attempts and agents; its idempotency key.
    """
    looped = f"@{iteration}" if iteration else ""
    return f"{case_id}:{step}{looped}#{replay}" if replay else f"{case_id}:{step}{looped}"


def task_name_of(task_id: str, case_id: str) -> TaskName | None:
    """What a task id names within its case; `None` when it is no task of that case."""
    prefix, _, rest = task_id.partition(":")
    return _name_in(rest) if prefix == case_id else None


@lru_cache(maxsize=4096)  # cases of one workflow have the same steps
def _name_in(text: str) -> TaskName | None:
    found = _TASK_NAME.fullmatch(text)
    if found is None:
        return None
    step, index, undo, iteration, replay = found.group(
        "step", "index", "undo", "iteration", "replay"
    )
    return TaskName(
        step,
        None if index is None else int(index),
        int(iteration or 0),
        int(replay or 0),
        bool(undo),
    )


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
    step: StepPath
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
