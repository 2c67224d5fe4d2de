"""What is looked at, and what is told of it: frozen values. Pure.

Times in `Inputs` are seconds since the epoch; in what is told they are RFC 3339 in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from caseworks.lag.views import LagReport
from schemas.alert import Alert
from schemas.control import Decision

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From what cannot wait to what is good to know."""

Kind = Literal[
    "kafka",
    "effect",
    "undo",
    "stuck",
    "nobody",
    "breaker",
    "paused",
    "approval",
    "dead letters",
    "projection",
    "parked",
    "spend",
    "alert",
    "behind",
    "escalated",
]


class Concern(Struct, frozen=True, kw_only=True):
    """One thing that a person should look at. Its texts may hold what others wrote: escape them."""

    kind: Kind
    severity: Severity
    since: str | None
    about: str
    """Id of what it is about: a case, an approval, an agent, a group…"""
    what: str
    """One sentence."""
    command: str
    """What to type: it mends it, or begins to."""
    why: str = ""
    case_id: str | None = None
    approval_id: str | None = None
    agent: str | None = None
    page: str | None = None
    """Page of the console that shows it, where no id leads there."""


class Attention(Struct, frozen=True, kw_only=True):
    """The list, what cannot wait first, the oldest of a severity first."""

    at: str
    items: list[Concern]
    left_out: dict[str, int]
    """How many more there are, by kind."""
    missing: list[str]
    """What could not be looked at, and why."""
    next: None = None


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case that needs a person; *at*: since when. *detail*: what is wrong with it."""

    case_id: str
    workflow: str
    at: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalFact:
    """A question that nobody has answered."""

    approval_id: str
    case_id: str
    workflow: str
    step: str
    asked: float | None
    expires: float | None
    on_expiry: str


@dataclass(frozen=True, slots=True)
class LetterFact:
    """A dead letter that waits."""

    topic: str
    agent: str | None
    reason: str
    at: float | None


@dataclass(frozen=True, slots=True)
class EffectFact:
    """An outside call that is over and of which nobody knows whether it happened."""

    effect_id: str
    at: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class BehindFact:
    """How the projection stands; *at*: when its writer last said anything."""

    records: int
    seconds: float
    at: float | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """What could be seen at one moment; what could not is named in `missing`."""

    broker_error: str = ""
    """Why the broker does not answer; empty: it does."""
    escalated: tuple[CaseFact, ...] = ()
    parked: tuple[CaseFact, ...] = ()
    undo_failed: tuple[CaseFact, ...] = ()
    approvals: tuple[ApprovalFact, ...] = ()
    letters: tuple[LetterFact, ...] = ()
    decisions: tuple[Decision, ...] = ()
    alerts: tuple[Alert, ...] = ()
    effects: tuple[EffectFact, ...] = ()
    lag: LagReport | None = None
    behind: BehindFact | None = None
    usd_today: Decimal = Decimal(0)
    usd_per_day: Decimal | None = None
    """What a person said may be spent in a day; `None`: nobody did."""
    worker_prefix: str = ""
    """How the names of processes begin: who pauses an agent under such a name is none of us."""
    missing: tuple[str, ...] = ()
