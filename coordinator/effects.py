"""What the case machine asks for: frozen data, carried out in the turn's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from schemas.approval import ApprovalEnding
from schemas.case import Answer
from schemas.lean_case import Question, StepState
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
    "undoing",
    "signalled_already",
    "too_many_signals",
    "unknown_signal",
    "unheard",
    "no_question",
    "wrong_hash",
]


class Work(NamedTuple):
    """What one task is about: the step (`check`, `check:17`, `check~undo`) and what it reads."""

    key: str
    state: StepState
    input: Any = None
    """Where it is not the event's data: an item, or what a delegating agent gave."""
    results: Mapping[str, Any] | None = None
    """By parameter; `None`: nothing can be said of it any more."""


@dataclass(frozen=True, slots=True)
class SendTask:
    """Send a task to its agent; the work's state says which attempt."""

    work: Work


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask for the last good output of this step for the same input; it comes as an outcome."""

    work: Work


@dataclass(frozen=True, slots=True)
class Retain:
    """Keep the output of a step that is done well, for when nobody else can answer."""

    work: Work


@dataclass(frozen=True, slots=True)
class Postponed:
    """A retry of an agent waits longer than its back-off says: too many of them at once."""

    agent: str


@dataclass(frozen=True, slots=True)
class AskFlock:
    """Ask the flock of identical events whether this case works or follows."""


@dataclass(frozen=True, slots=True)
class LeaveFlock:
    """The case has ended; its answer, if those who follow may have it."""

    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Keep:
    """The state of an item of a `map`, kept as a part of the case."""

    key: str
    state: StepState


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a person; the step's `question` says what."""

    step: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A question has ended, whoever or whatever ended it."""

    step: str
    question: Question
    ending: ApprovalEnding
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tune:
    """The case listens for this event type from now on, or (`on=False`) not any more."""

    event_type: str
    on: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the case's result; `number` counts the results of this case."""

    result: Result
    number: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Write a dead letter for this task. Without an outcome the coordinator gave it up itself."""

    work: Work
    error: Failure
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """The command changes nothing; counted by `why`."""

    why: IgnoredWhy


Effect = (
    SendTask
    | AskFlock
    | LeaveFlock
    | Recall
    | Retain
    | Postponed
    | Publish
    | Bury
    | Keep
    | Ask
    | Answered
    | Tune
    | Ignored
)
