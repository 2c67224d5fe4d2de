"""What a reader of the projection gets: frozen values that are JSON as they are.

Times are RFC 3339 in UTC (`…Z`), money is a decimal string in US dollars, `ms` are whole numbers.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class View(Struct, frozen=True, kw_only=True):
    """A value that turns to JSON as it is."""

    def to_json(self) -> bytes:
        """UTF-8 JSON, every field written."""
        return msgspec.json.encode(self)

    def as_json(self) -> Any:
        """Dicts, lists and plain values."""
        return msgspec.to_builtins(self)


class Page(View, Generic[T], frozen=True, kw_only=True):
    """A part of a list; `next` is the cursor of what follows, `None` at the end."""

    items: list[T]
    next: str | None = None


class Behind(View, frozen=True, kw_only=True):
    """How far the projection is behind Kafka. `seconds`: how old the oldest missing record is."""

    records: int
    seconds: float
    updated_at: str | None
    """When the writer last looked; `None`: never."""
    ready: bool
    """It has caught up since it was made, and its writer lives."""


class EventView(View, frozen=True, kw_only=True):
    """The event of a case; `data` is null where only the result is known."""

    id: str
    source: str
    type: str
    time: str | None = None
    data: Any = None


class UsageView(View, frozen=True, kw_only=True):
    """What was spent."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: str = "0"
    calls: int = 0
    iterations: int = 0


class StepView(View, frozen=True, kw_only=True):
    """One step as it stands."""

    name: str
    status: str
    after: list[str] = []
    agent: str | None = None
    agent_version: str = ""
    attempts: int = 0
    iteration: int = 0
    confidence: float | None = None
    usage: UsageView = UsageView()
    ms: int | None = None
    input: Any = None
    output: Any = None
    error: str | None = None
    sources: list[Any] = []
    """What its output names as its sources (the field `sources` of it)."""
    items: dict[str, int] | None = None
    """Of a `map`: `total`, `done`, `failed`, `running`."""
    first_sent_at: str | None = None
    ended_at: str | None = None


class MomentView(View, frozen=True, kw_only=True):
    """Something that happened in a case."""

    at: str
    what: str
    step: str = ""
    detail: str = ""


class ResultView(View, frozen=True, kw_only=True):
    """A result that a case published; `amends` names the one that it corrects."""

    id: str
    status: str
    closed_at: str
    amends: str | None = None


class ApprovalView(View, frozen=True, kw_only=True):
    """A question to a person; `status` is `open` or how it ended."""

    approval_id: str
    case_id: str
    workflow: str
    step: str
    tenant: str | None
    action: Any
    action_hash: str
    confidence: float | None
    why: str
    asked_at: str
    expires_at: str
    on_expiry: str
    status: str
    by: list[str] = []
    needed: int = 1
    """How many people have to approve."""
    context: Any = None


class LetterView(View, frozen=True, kw_only=True):
    """A dead letter without its bytes; `id` is `topic/partition/offset`."""

    id: str
    topic: str
    agent: str | None
    reason: str
    error: str
    at: str
    case_id: str | None
    task_id: str | None
    tenant: str | None
    attempts: int
    replays: int
    state: str
    """`waiting`, `replayed` or `dropped`."""
    size: int
    """Bytes of its value."""


class CaseLine(View, frozen=True, kw_only=True):
    """A case in a list."""

    case_id: str
    workflow: str
    status: str
    tenant: str | None
    subject: str | None
    type: str | None
    opened_at: str | None
    closed_at: str | None
    ms: int | None
    usd: str
    confidence: float | None
    degraded: bool
    updated_at: str


class CaseView(View, frozen=True, kw_only=True):
    """All that is known of a case."""

    case_id: str
    workflow: str
    workflow_version: str
    status: str
    tenant: str | None
    subject: str | None
    event: EventView | None
    opened_at: str | None
    closed_at: str | None
    deadline: str | None
    reason: str | None
    output: Any
    confidence: float | None
    usage: UsageView
    trace_id: str | None
    degraded: dict[str, Any]
    undone: dict[str, Any]
    steps: list[StepView]
    timeline: list[MomentView]
    results: list[ResultView]
    approvals: list[ApprovalView]
    letters: list[LetterView]
    feedback: list[Any] = []


class Pace(View, frozen=True, kw_only=True):
    """Cases opened and closed in each of the last 60 seconds, the newest last."""

    opened: list[int]
    closed: list[int]


class BreakerView(View, frozen=True, kw_only=True):
    """A dependency's breaker for the fleet."""

    dependency: str
    state: str
    since: str | None
    held: bool = False
    reason: str = ""
    by: str = ""


class AgentLine(View, frozen=True, kw_only=True):
    """An agent in the overview. A task counts when the result of its case is published."""

    agent: str
    versions: list[str]
    tasks_5m: int
    failed_5m: int
    p50_ms: int | None
    p99_ms: int | None
    paused: bool
    breaker: str | None
    """State of the breaker of its own name, when there is one."""


class Overview(View, frozen=True, kw_only=True):
    """How everything stands, at a glance."""

    at: str
    cases_open: int
    by_status: dict[str, int]
    per_second: Pace
    p50_ms: int | None
    p99_ms: int | None
    usd_today: str
    usd_per_hour: str
    approvals_open: int
    approvals_expiring: int
    letters_waiting: int
    breakers: list[BreakerView]
    agents: list[AgentLine]
    behind: Behind


class SpendLine(View, frozen=True, kw_only=True):
    """What was spent on one agent, workflow or tenant; `key` is empty for cases without one."""

    key: str
    usd: str
    tokens_in: int
    tokens_out: int
    calls: int
    cases: int
    """Of an agent: its steps."""
