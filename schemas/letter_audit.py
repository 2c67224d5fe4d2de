"""What people did to dead letters: who, when, why, and what was changed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.base import Instant, Message


class LetterFilter(Message):
    """Which dead letters are meant. What is left empty does not matter."""

    agent: str = ""
    reason: str = ""
    topic: str = ""
    """Where they lie, or where they came from."""
    tenant: str = ""
    case_id: str = ""
    since: Instant | None = None
    """Died at this time or later."""
    until: Instant | None = None
    """Died before this time."""
    where: str = ""
    """A JMESPath expression over `letter`, `headers`, `payload`, `key`, `place` and `agent`."""


class LetterHandled(Message):
    """A dead letter was replayed or dropped; written in the transaction that did it."""

    ce_type: ClassVar[str] = "caseworks.letter_handled"

    action: Literal["replay", "drop"]
    place: str
    """The letter: `topic:partition:offset`; also the record's key."""
    by: str
    why: str = ""
    at: Instant
    to: str = ""
    """The topic that it was written to; empty: nothing was."""
    command_id: str = ""
    """Of the command to its case; empty: it was none."""
    case_id: str | None = None
    task_id: str | None = None
    changed: str = ""
    """What was changed, as a unified diff of canonical JSON; cut to 16,000 characters."""
    run: str = ""
    """The run that it belongs to; empty: it was named by its place."""


class LetterRun(Message):
    """The replay or drop of a selection began; its progress is its group `{ns}.replay.<name>`."""

    ce_type: ClassVar[str] = "caseworks.letter_run"

    name: str
    action: Literal["replay", "drop"] = "replay"
    by: str
    why: str = ""
    at: Instant
    chosen: LetterFilter
    patch: Any = None
    """An RFC 7396 merge patch of what is replayed; null: none."""
    replays_max: int | None = None
    """Letters replayed so often already are refused; null: none is."""
    ends: dict[str, int] = Field(default_factory=dict)
    """By `topic:partition`: where it ends. Letters that came later are none of its business."""
