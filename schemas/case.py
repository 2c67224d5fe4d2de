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
    "waiting",
    "sent",
    "retrying",
    "mapping",
    "delegated",
    "listening",
    "asking",
    "done",
    "skipped",
    "failed",
    "parked",
    "abandoned",
]
CaseStatus = Literal[
    "open",
    "waiting",
    "parked",
    "undoing",
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


class Items(Message):
    """How far a `map` is. The items' own states are parts of the case (`<step>:<index>`)."""

    total: int
    next: int = 0
    """The first index that was never sent."""
    again: tuple[int, ...] = ()
    """Indexes that must be sent anew."""
    running: int = 0
    done: int = 0
    failed: int = 0
    """Items that were given up, and whose output is null."""
    bytes: int = 0
    """What their outputs hold."""


class Question(Message):
    """What a person was asked; bound to the exact action by its hash."""

    approval_id: str
    action: Any = None
    action_hash: str
    confidence: float | None = None


class StepState(Message):
    """One step of a running case, or one item of a `map`; times are seconds since the epoch."""

    status: StepStatus = "waiting"
    agent: Name | None = None
    attempt: int = 0
    """Number of the last send; names the attempt on the wire."""
    burnt: int = 0
    """Attempts that count towards `attempts_max` (a deferral burns none)."""
    replay: int = 0
    iteration: int = 0
    """Of a `loop`: how often it went round before."""
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
    """It ended on a link of its fallback or was skipped after a failure."""
    handed: tuple[str, ...] = ()
    """Why it was handed on along its fallback, once for each link that was asked or passed over."""
    look: float | None = None
    """When to look whether what its agent calls has been away for too long."""
    deferred: float | None = None
    """Since when its attempts came back undone, because of what they call."""
    escalated: bool = False
    """The higher agent was asked."""
    input: Any = None
    """What a replay gives the agent instead of what it got before."""
    items: Items | None = None
    question: Question | None = None


class Delegated(Message):
    """A step that an agent asked for instead of answering; `after` are its siblings."""

    parent: str
    agent: Name
    input: Any = None
    after: tuple[str, ...] = ()
    depth: int = 1


class Heard(Message):
    """A signal that came before a step waited for it."""

    name: str
    data: Any = None
    signal_id: str = ""


class Following(Message):
    """The part of a case in a flock: the cases of identical events, of which one works."""

    flock: str
    role: Literal["asks", "leads", "follows"] = "asks"
    leader: str | None = None
    """The case that it follows."""


class Ending(Message):
    """How a case that is being undone will end."""

    event: Literal["fail", "expire", "cancel"]
    reason: str | None = None


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
    delegated: dict[str, Delegated] = Field(default_factory=dict)
    """Steps that agents asked for, by `<parent>.<name>`."""
    undos: dict[str, StepState] = Field(default_factory=dict)
    """The undoing of finished steps, in the order in which they are undone."""
    ending: Ending | None = None
    heard: tuple[Heard, ...] = ()
    signals: tuple[str, ...] = ()
    """Ids of the last signals that reached the case: a repeated one changes nothing."""
    following: Following | None = None
    held: float | None = None
    """Until when it is held for its off-peak window."""


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


class KeptEvent(Message):
    """A correlated event that no case wanted yet; it may still be wanted until `until`."""

    event: Event
    until: float


class Answer(Message):
    """What a leader ended with, for those who follow it."""

    status: Literal["completed", "degraded", "escalated"]
    output: Any = None
    confidence: float | None = None
    reason: str | None = None


class Group(Message):
    """The case that works, and those that wait for its result."""

    leader: str
    until: float
    """Events that come before this belong to it, in seconds since the epoch."""
    followers: dict[str, float] = Field(default_factory=dict)
    """By case: its own deadline."""
    answer: Answer | None = None


class Flock(Message):
    """The cases of identical events, the newest group last."""

    v: int = CASE_VERSION
    groups: tuple[Group, ...] = ()


class KeptOutput(Message):
    """A good output of a step, for when nobody else can answer."""

    output: Any = None
    confidence: float = 1.0
    agent_version: str = ""
    at: float
    """When it was kept, in seconds since the epoch."""
    bytes: int = 0


class Shelf(Message):
    """The last good outputs of a step, by the digest of what it had read; the oldest first."""

    v: int = CASE_VERSION
    outputs: dict[str, KeptOutput] = Field(default_factory=dict)


class Correlation(Message):
    """Who waits for the events of one type and subject, as the changelog holds it."""

    v: int = CASE_VERSION
    type: str
    subject: str
    listeners: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By case: older events are not meant for it; how long it listens (epoch seconds)."""
    kept: tuple[KeptEvent, ...] = ()
    seen: dict[str, float] = Field(default_factory=dict)
    """Events that were delivered, by case id of the event, with the time: duplicates change
    nothing for the dedupe window."""
