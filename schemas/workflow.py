"""A workflow: a versioned DAG of steps for one or more event types. One model, several doors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.agent import AgentSpec
from schemas.base import Message, Name, StepName
from schemas.result import ResultStatus

YEAR_S = 366 * 86_400.0
"""The longest deadline of a step or a case."""
OnDeadLetter = Literal["escalate", "park", "fail"]
MAP_ITEMS_MAX = 10_000
"""More items than this in one `map` fail its step."""
ITERATIONS_MAX = 1_000
"""No `loop` goes round more often."""
ATTEMPTS_MAX = 1_000
"""No step is tried more often."""
LINKS_MAX = 8
"""No chain of fallbacks is longer."""
CACHE = "cache"
"""In a chain: the last good output of this step for the same input."""
ESCALATE = "escalate"
"""In a chain, at its end: the step is escalated instead of ending in a dead letter."""
Chain = Annotated[tuple[Name, ...], Field(min_length=1, max_length=LINKS_MAX)]
Expression = Annotated[str, Field(min_length=1, max_length=2_000)]
"""JMESPath over what a case knows: `event`, `data` (the event's), step outputs by name."""


class MapSpec(Message):
    """One step as many tasks: one for each item of a list. Its output is the list of theirs."""

    over: Expression
    """What gives the list; the agent gets an item where it would get the event's data."""
    concurrency: int = Field(default=10, ge=1, le=1_000)
    """Items at work at the same time."""
    items_max: int = Field(default=1_000, ge=1, le=MAP_ITEMS_MAX)
    on_failure: Literal["fail", "skip"] = "fail"
    """An item that failed for good: the whole step fails, or the item's output is null."""


class LoopSpec(Message):
    """A step that runs again, its last output among its inputs, until a condition holds."""

    until: Expression
    """Besides what a case knows: `output` (of this iteration) and `iteration` (from 1)."""
    iterations_max: int = Field(default=5, ge=1, le=ITERATIONS_MAX)
    exhausted: Literal["fail", "accept"] = "fail"
    """After the last iteration: the step fails, or its last output is taken, degraded."""


class WaitSpec(Message):
    """A step that waits for a correlated event: same subject, or a signal to this very case."""

    event: str = Field(min_length=1)
    """The event type, or the signal's name. The step's output is the event's data."""
    timeout_s: float = Field(gt=0, le=YEAR_S, allow_inf_nan=False)
    on_timeout: Literal["skip", "escalate", "fail"] = "escalate"


class ApprovalSpec(Message):
    """A step that asks a person; its output is the approved (or corrected) action."""

    of: Expression
    """The exact action to decide on."""
    timeout_s: float = Field(default=86_400.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    on_expiry: Literal["skip", "escalate", "fail", "approve"] = "escalate"
    on_reject: Literal["skip", "escalate", "fail"] = "escalate"


class StepSpec(Message):
    """One node of the DAG: work for an agent, a wait for an event, or a question to a person."""

    name: StepName
    agent: Name | None = None
    """Who works; left out exactly for a `wait` or an `approval`."""
    after: tuple[StepName, ...] = ()
    """The steps that must have ended; their results are read."""
    inputs: dict[StepName, Expression] = Field(default_factory=dict)
    """What the agent reads, by parameter; default: the results of `after` by their names."""
    when: Expression | None = None
    """Not true (JMESPath: empty, null or false): the step is skipped; that degrades nothing."""
    join: Literal["all", "any"] = "all"
    """Starts when all of `after` have ended well, or as soon as one of them is done."""
    map: MapSpec | None = None
    loop: LoopSpec | None = None
    wait: WaitSpec | None = None
    approval: ApprovalSpec | None = None
    optional: bool = False
    fallback: Name | Chain | None = None
    """Who stands in when the agent failed for good or was halted: agents, `cache`, `escalate`, in
    the order in which they are asked, each once."""
    degrade_after_s: float | None = Field(default=None, ge=0, le=YEAR_S, allow_inf_nan=False)
    """The next of `fallback` is asked, too, when what an agent calls has been away for so long."""
    escalate_to: Name | None = None
    """The higher agent that is asked once before people are."""
    undo: Name | None = None
    """The agent that undoes the finished step when its case fails or is cancelled."""
    timeout_s: float = Field(default=30.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    deadline_s: float | None = Field(default=None, gt=0, le=YEAR_S, allow_inf_nan=False)
    """Backstop from the first send; default: the case's."""
    attempts_max: int = Field(default=3, ge=1, le=ATTEMPTS_MAX)
    backoff_s: float = Field(default=1.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    backoff_s_max: float = Field(default=60.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    escalate_below: float | None = Field(default=None, ge=0, le=1)
    review_below: float | None = Field(default=None, ge=0, le=1)
    """A lower confidence asks a person about the output."""
    review_timeout_s: float = Field(default=86_400.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    on_expiry: Literal["escalate", "fail", "approve"] = "escalate"
    """What becomes of a review that nobody answered."""
    on_dead_letter: OnDeadLetter = "escalate"

    @property
    def chain(self) -> tuple[str, ...]:
        """The links of `fallback`."""
        given = self.fallback
        return (given,) if isinstance(given, str) else given or ()

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """The agents among the links of `fallback`."""
        return tuple(link for link in self.chain if link not in (CACHE, ESCALATE))

    @property
    def conditional(self) -> bool:
        """Whether it may end without an output although nothing failed."""
        timed_out = self.wait is not None and self.wait.on_timeout == "skip"
        ends = (self.approval.on_expiry, self.approval.on_reject) if self.approval else ()
        return self.when is not None or timed_out or "skip" in ends


class WorkflowSpec(Message):
    """A workflow as validated data; `version` is a digest of the rest unless given."""

    name: Name
    version: str = ""
    on: tuple[str, ...]
    """The event types that open a case."""
    steps: tuple[StepSpec, ...]
    deadline_s: float = Field(default=86_400.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    undo_deadline_s: float = Field(default=3_600.0, gt=0, le=YEAR_S, allow_inf_nan=False)
    """How long undoing may take, from the moment the case fails or is cancelled."""
    coalesce_by: Expression | None = None
    """Events of one tenant for which this (over `event` and `data`) gives the same value are one
    execution, whose result answers each; null: the event runs on its own."""
    coalesce_window_s: float = Field(default=60.0, gt=0, le=86_400.0, allow_inf_nan=False)
    """Events that come within this after the first belong to it."""
    off_peak: str = ""
    """When events of priority `deferred` begin: `22:00-06:00`; empty: at once."""
    off_peak_zone: str = "UTC"
    """The time zone of that, as the IANA names it: `Europe/Berlin`."""
    results: dict[ResultStatus, str] = Field(default_factory=dict)
    """`ce_type` of the result by status, where it differs from the default."""
    data_schemas: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """JSON Schema of the data by event type."""

    def result_type(self, status: ResultStatus) -> str:
        """The `ce_type` of a result: own name, else that of its family, else the default."""
        family: ResultStatus = _FAMILY[status]
        word = self.results.get(status) or self.results.get(family)
        return word or f"{self.name}.{family}"


class NotedWorkflow(Message):
    """A version that cases run on, as the changelog notes it, with the agents its steps name."""

    spec: WorkflowSpec
    agents: dict[Name, AgentSpec]


_FAMILY: dict[ResultStatus, ResultStatus] = {
    "completed": "completed",
    "degraded": "completed",
    "escalated": "escalated",
    "failed": "failed",
    "expired": "failed",
    "cancelled": "failed",
}
