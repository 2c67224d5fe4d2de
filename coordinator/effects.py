"""What the case machine asks for: frozen data, carried out in the turn's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.outcome import Failure, Outcome
from schemas.result import Result

IgnoredWhy = Literal[
    "duplicate_event",
    "late",
    "stale",
    "unknown_step",
    "unknown_case",
    "closed_case",
    "replayed_already",
    "nothing_to_replay",
    "no_waiter",
]


@dataclass(frozen=True, slots=True)
class SendTask:
    """Send this step's task to its agent; the case already says which attempt."""

    step: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the case's result; `number` counts the results of this case."""

    result: Result
    number: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Write a dead letter for this step. Without an outcome the coordinator gave it up itself."""

    step: str
    error: Failure
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """The command changes nothing; counted by `why`."""

    why: IgnoredWhy


Effect = SendTask | Publish | Bury | Ignored
