"""What the inbox holds: every way to move a case forward."""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from uuid import NAMESPACE_URL, uuid5

from schemas.base import Instant, Message, Name
from schemas.case import Answer
from schemas.event import Event
from schemas.outcome import Outcome, Progress


class Opened(Message):
    """Intake accepted an event: open its case, unless it is open or was closed already."""

    ce_type: ClassVar[str] = "caseworks.opened"

    case_id: str
    workflow: Name
    workflow_version: str
    event: Event
    accepted_at: Instant
    flock: str | None = None
    """The flock of the cases of identical events, if its workflow coalesces them."""


class Signal(Message):
    """A correlated event or message for a waiting case."""

    ce_type: ClassVar[str] = "caseworks.signal"

    case_id: str
    name: str
    data: Any = None
    signal_id: str = ""
    """The same id twice is one signal; empty: every one counts."""


class Correlated(Message):
    """Intake accepted an event that cases wait for. `case_id` is its correlation's."""

    ce_type: ClassVar[str] = "caseworks.correlated"

    case_id: str
    event: Event


class Listen(Message):
    """A case wants (or no longer wants) the events of one type and subject."""

    ce_type: ClassVar[str] = "caseworks.listen"

    case_id: str
    """The correlation: `correlation_id_of(type, subject)`."""
    listener: str
    """The case that wants them."""
    type: str
    subject: str
    since: Instant
    """Older events are not meant for it."""
    until: Instant | None = None
    """How long it listens at most; null: not any more."""


class Join(Message):
    """A case asks whether it works or follows. `case_id` is the flock's."""

    ce_type: ClassVar[str] = "caseworks.join"

    case_id: str
    member: str
    until: Instant
    """Its own deadline."""
    window_s: float


class Leave(Message):
    """A case of a flock has ended; with an answer those who follow it end as well."""

    ce_type: ClassVar[str] = "caseworks.leave"

    case_id: str
    member: str
    answer: Answer | None = None


class Flocked(Message):
    """What a flock tells a case: whom it follows (itself: it works), or that one's answer."""

    ce_type: ClassVar[str] = "caseworks.flocked"

    case_id: str
    leader: str
    answer: Answer | None = None


class RetainOutput(Message):
    """A step is done well: keep its output. `case_id` is the shelf's."""

    ce_type: ClassVar[str] = "caseworks.retain"

    case_id: str
    digest: str
    """Of what the step had read."""
    output: Any = None
    confidence: float = 1.0
    agent_version: str = ""


class RecallOutput(Message):
    """A step asks for the last good output; the answer is an outcome of the agent `cache`."""

    ce_type: ClassVar[str] = "caseworks.recall"

    case_id: str
    digest: str
    asker: str
    """The case that asks."""
    task_id: str
    attempt: int


class Decision(Message):
    """A person's answer to an approval request, bound to the hash of the exact action."""

    ce_type: ClassVar[str] = "caseworks.decision"

    case_id: str
    approval_id: str
    verdict: Literal["approve", "reject", "correct"]
    action_hash: str
    by: str
    correction: Any = None
    note: str = ""
    """Why, for whoever reads the end of the question."""


class Cancel(Message):
    """Stop a case; it ends as `cancelled`."""

    ce_type: ClassVar[str] = "caseworks.cancel"

    case_id: str
    reason: str = ""
    by: str = ""


class Replay(Message):
    """Put one dead task back into its case. `command_id` is the letter's topic:partition:offset."""

    ce_type: ClassVar[str] = "caseworks.replay"

    case_id: str
    task_id: str
    command_id: str
    input: Any = None
    """What the agent gets instead of the event's data (or its item); null: the same as before."""
    by: str = ""
    why: str = ""


class Drop(Message):
    """Nobody will replay this dead task: its case need not be kept for it any more."""

    ce_type: ClassVar[str] = "caseworks.drop"

    case_id: str
    task_id: str
    command_id: str
    by: str = ""
    why: str = ""


def correlation_id_of(event_type: str, subject: str) -> str:
    """The name of a correlation: uuid5(NAMESPACE_URL, type + newline + subject)."""
    return str(uuid5(NAMESPACE_URL, f"{event_type}\n{subject}"))


# --- the inbox by `ce_type`

Command = Opened | Outcome | Progress | Signal | Decision | Cancel | Replay | Drop | Flocked
"""What moves a case."""
CorrelationCommand = Correlated | Listen
"""What moves a correlation."""

COMMANDS: dict[str, type[Command]] = {
    model.ce_type: model
    for model in (Opened, Outcome, Progress, Signal, Decision, Cancel, Replay, Drop, Flocked)
}
CORRELATION_COMMANDS: dict[str, type[CorrelationCommand]] = {
    model.ce_type: model for model in (Correlated, Listen)
}
FlockCommand = Join | Leave
"""What moves a flock."""
FLOCK_COMMANDS: dict[str, type[FlockCommand]] = {model.ce_type: model for model in (Join, Leave)}
ShelfCommand = RetainOutput | RecallOutput
"""What moves a shelf of outputs."""
SHELF_COMMANDS: dict[str, type[ShelfCommand]] = {
    model.ce_type: model for model in (RetainOutput, RecallOutput)
}
