"""The state of a case as the coordinator works with it: structs instead of models.

`schemas.case` is the contract; these hold the same fields with the same defaults and write the same
JSON (a test compares them), in a tenth of the time. What they hold was checked when it came in.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from schemas.base import Message
from schemas.case import (
    CASE_VERSION,
    CLOSED,
    CaseStatus,
    ClosedCase,
    Correlation,
    KeptEvent,
    Position,
    StepStatus,
)
from schemas.outcome import Failure
from schemas.stored_event import StoredEvent
from schemas.usage import NOTHING, Usage

__all__ = [
    "CASE_VERSION",
    "CLOSED",
    "Case",
    "CaseStatus",
    "ClosedCase",
    "Correlation",
    "Delegated",
    "Ending",
    "Following",
    "Heard",
    "Items",
    "KeptEvent",
    "Position",
    "Question",
    "StepState",
    "StepStatus",
    "StoredEvent",
]


class Lean(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A frozen value. Without a part in the garbage collection: a case has no circles."""

    def evolve(self, **fields: Any) -> Self:
        """A copy with other field values, which are not looked at."""
        return replace(self, **fields)

    def to_compact_json(self) -> bytes:
        """UTF-8 JSON without the fields that hold their default."""
        return _encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse UTF-8 JSON. Raises `ValueError`."""
        parsed: Self = _decoder(cls).decode(data)
        return parsed


class Items(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Items`."""

    total: int
    next: int = 0
    again: tuple[int, ...] = ()
    running: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0


class Question(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Question`."""

    approval_id: str
    action: Any = None
    action_hash: str
    confidence: float | None = None


class StepState(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.StepState`."""

    status: StepStatus = "waiting"
    agent: str | None = None
    attempt: int = 0
    burnt: int = 0
    replay: int = 0
    iteration: int = 0
    due: float | None = None
    deadline: float | None = None
    first_sent: float | None = None
    ended: float | None = None
    output: Any = None
    confidence: float | None = None
    agent_version: str = ""
    error: Failure | None = None
    usage: Usage | None = None
    degraded: bool = False
    handed: tuple[str, ...] = ()
    look: float | None = None
    deferred: float | None = None
    escalated: bool = False
    input: Any = None
    items: Items | None = None
    question: Question | None = None


class Delegated(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Delegated`."""

    parent: str
    agent: str
    input: Any = None
    after: tuple[str, ...] = ()
    depth: int = 1


class Heard(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Heard`."""

    name: str
    data: Any = None
    signal_id: str = ""


class Following(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Following`."""

    flock: str
    role: Literal["asks", "leads", "follows"] = "asks"
    leader: str | None = None


class Ending(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Ending`."""

    event: Literal["fail", "expire", "cancel"]
    reason: str | None = None


class Case(Lean, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """See `schemas.case.Case`. Of the event, a case that is read has the bytes."""

    v: int = CASE_VERSION
    case_id: str
    workflow: str
    workflow_version: str
    if TYPE_CHECKING:
        event: StoredEvent
    else:
        event: msgspec.Raw
    status: CaseStatus = "open"
    opened: float
    deadline: float
    closed: float | None = None
    steps: dict[str, StepState] = msgspec.field(default_factory=dict)
    reason: str | None = None
    published: int = 0
    dead_letters: tuple[str, ...] = ()
    replays: tuple[str, ...] = ()
    usage: Usage | None = None
    delegated: dict[str, Delegated] = msgspec.field(default_factory=dict)
    undos: dict[str, StepState] = msgspec.field(default_factory=dict)
    ending: Ending | None = None
    heard: tuple[Heard, ...] = ()
    signals: tuple[str, ...] = ()
    following: Following | None = None
    held: float | None = None

    def __post_init__(self) -> None:
        """The bytes of the event are cut out where it was just read."""
        if type(self.event) is not StoredEvent:
            force_setattr(self, "event", StoredEvent(bytes(self.event)))


@cache
def _decoder(kind: type[Lean]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_model)


def _model(kind: type[Any], value: Any) -> Any:
    """What is held as a model: failures and costs, of which few steps have any."""
    if kind is Usage and not value:
        return NOTHING
    model: type[Message] = kind
    return model.model_validate(value)


def _raw(value: Any) -> Any:
    match value:
        case StoredEvent():
            return msgspec.Raw(value.kept_json())
        case Message():
            return msgspec.Raw(value.to_compact_json())
        case _:
            raise TypeError(f"{type(value).__name__} is no part of a case")


_encode = msgspec.json.Encoder(enc_hook=_raw).encode
