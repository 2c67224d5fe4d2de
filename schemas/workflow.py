"""A workflow: a versioned DAG of steps for one or more event types. One model, several doors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from schemas.base import Message, Name, StepName
from schemas.result import ResultStatus

YEAR_S = 366 * 86_400.0
"""The longest deadline of a step or a case."""
OnDeadLetter = Literal["escalate", "park", "fail"]


class StepSpec(Message):
    """One node of the DAG."""

    name: StepName
    agent: Name
    after: tuple[StepName, ...] = ()
    """The steps whose results it reads."""
    optional: bool = False
    fallback: Name | None = None
    """The agent that is asked when the first one failed for good."""
    timeout_s: float = Field(default=30.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    deadline_s: float | None = Field(default=None, gt=0, le=YEAR_S, allow_inf_nan=False)
    """Backstop from the first send; default: the case's."""
    attempts_max: PositiveInt = 3
    backoff_s: float = Field(default=1.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    backoff_s_max: float = Field(default=60.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    escalate_below: float | None = Field(default=None, ge=0, le=1)
    review_below: float | None = Field(default=None, ge=0, le=1)
    on_dead_letter: OnDeadLetter = "escalate"


class WorkflowSpec(Message):
    """A workflow as validated data; `version` is a digest of the rest unless given."""

    name: Name
    version: str = ""
    on: tuple[str, ...]
    """The event types that open a case."""
    steps: tuple[StepSpec, ...]
    deadline_s: float = Field(default=86_400.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    results: dict[ResultStatus, str] = Field(default_factory=dict)
    """`ce_type` of the result by status, where it differs from the default."""
    data_schemas: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """JSON Schema of the data by event type."""

    def result_type(self, status: ResultStatus) -> str:
        """The `ce_type` of a result: own name, else that of its family, else the default."""
        family: ResultStatus = _FAMILY[status]
        word = self.results.get(status) or self.results.get(family)
        return word or f"{self.name}.{family}"


_FAMILY: dict[ResultStatus, ResultStatus] = {
    "completed": "completed",
    "degraded": "completed",
    "escalated": "escalated",
    "failed": "failed",
    "expired": "failed",
    "cancelled": "failed",
}
