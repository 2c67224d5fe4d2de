"""A dead letter as it lies in its topic: its place, what its headers say, what it holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError
from pydantic_core import from_json

from events.broker import Headers, Message, TopicPartition
from events.dead_letters import read_letter
from events.errors import PayloadError
from events.topics import Topics
from schemas.dead_letter import PREFIX, DeadLetter

UNKNOWN = "unknown"
"""Reason of a record that is no letter of ours."""
DLQ = ".dlq"

Kind = Literal["task", "event", "command", "other"]
"""What died, by the topic whose dead letters it lies among."""


@dataclass(frozen=True, slots=True)
class Dead:
    """A record of a dead-letter topic, and what its headers say."""

    message: Message
    letter: DeadLetter

    @property
    def place(self) -> str:
        """`topic:partition:offset`: its name, and the id of the command that replays it (I9)."""
        return place_of(self.message)

    @property
    def is_foreign(self) -> bool:
        """Whether it is a record without our headers: it says nothing of where it came from."""
        return self.letter.reason == UNKNOWN and self.letter.partition < 0


def place_of(message: Message) -> str:
    """`topic:partition:offset`."""
    return f"{message.topic}:{message.partition}:{message.offset}"


def read_place(text: str) -> tuple[TopicPartition, int]:
    """The record that `topic:partition:offset` names. Raises `PayloadError` for other text."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    numbers = (partition, offset)
    if not topic or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        raise PayloadError("place", f"{text!r} is not of the form topic:partition:offset")
    return TopicPartition(topic, int(partition)), int(offset)


def dead_of(message: Message) -> Dead:
    """A record that is no letter of ours is shown as one without a reason, not hidden."""
    try:
        return Dead(message, read_letter(message))
    except ValidationError:
        unknown = DeadLetter.model_validate(
            {
                "topic": message.topic.removesuffix(DLQ),
                "partition": -1,
                "offset": -1,
                "timestamp": message.timestamp_ms / 1000,
                "reason": UNKNOWN,
            }
        )
        return Dead(message, unknown)


def kind_of(topic: str, topics: Topics) -> Kind:
    """What lies in a dead-letter topic. Headers can lie; the topic was written by us."""
    if topic == topics.dlq(topics.events):
        return "event"
    if topic == topics.dlq(topics.inbox):
        return "command"
    return "task" if topic.startswith(topics.tasks("")) and topic.endswith(DLQ) else "other"


def agent_of(topic: str, topics: Topics) -> str:
    """Whose dead tasks lie in a topic; empty: nobody's."""
    if kind_of(topic, topics) != "task":
        return ""
    return topic.removeprefix(topics.tasks("")).removesuffix(DLQ)


def case_id_of(message: Message, kind: Kind) -> str:
    """The case that a letter is about, as far as it says so; empty: it does not."""
    said = message.header(f"{PREFIX}case_id")
    if said:
        return said
    if kind == "command":
        return (message.key or b"").decode("utf-8", "replace")
    source, event_id = message.header("ce_source"), message.header("ce_id")
    if kind == "event" and source and event_id:
        return str(uuid5(NAMESPACE_URL, f"{source}\n{event_id}"))
    return ""


def payload_of(value: bytes | None) -> Any:
    """The JSON that a value holds. Raises `ValueError` when it is none."""
    if value is None:
        raise ValueError("there is no value")
    return from_json(value, allow_inf_nan=False)


def texts(headers: Headers) -> dict[str, str]:
    """Headers as text by name; of those that stand twice the first."""
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(name, (value or b"").decode("utf-8", "backslashreplace"))
    return found
