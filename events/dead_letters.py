"""Dead letters: the original record untouched, plus `cw_dlq_*` headers saying where and why.

The header names follow the conventions of Spring Kafka and Kafka Connect under our prefix.
"""

from __future__ import annotations

from typing import Any

from events.broker import Headers, Message, Record
from events.envelope import rfc3339
from schemas.base import instant
from schemas.dead_letter import PREFIX, DeadLetter

TEXT_CHARS_MAX = 4000
"""Error texts and stack traces are cut to this length; the value never is."""


def letter_for(message: Message, reason: str, **fields: Any) -> DeadLetter:
    """The letter for a record that cannot be processed; `fields` fill in what else is known."""
    return DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=instant(message.timestamp_ms / 1000),
        reason=reason,
        replays=replays_of(message.headers),
        **fields,
    )


def dead_letter_record(message: Message, topic: str, letter: DeadLetter) -> Record:
    """The record for the dead-letter topic: key, value and headers of the message are kept."""
    kept = tuple(header for header in message.headers if not header[0].startswith(PREFIX))
    return Record(topic, message.key, message.value, (*kept, *letter_headers(letter)))


def letter_headers(letter: DeadLetter) -> Headers:
    """A letter as headers; fields that say nothing are left out."""
    found: list[tuple[str, bytes]] = []
    for name, value in letter:
        if value is None or value == "":
            continue
        text = rfc3339(value.timestamp()) if name == "timestamp" else _text(str(value))
        found.append((PREFIX + name, text))
    return tuple(found)


def read_letter(message: Message) -> DeadLetter:
    """The letter in a dead record's headers. Raises `pydantic.ValidationError` if it has none."""
    fields = {
        name.removeprefix(PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in message.headers
        if name.startswith(PREFIX)
    }
    return DeadLetter.model_validate(fields)


def original_headers(message: Message) -> Headers:
    """The headers that the record had before it died."""
    return tuple(header for header in message.headers if not header[0].startswith(PREFIX))


def replays_of(headers: Headers) -> int:
    """How often this record was replayed already."""
    for name, value in headers:
        if name == PREFIX + "replays" and value and len(value) < 10 and value.isdigit():
            return int(value)
    return 0


def _text(text: str) -> bytes:
    return text[:TEXT_CHARS_MAX].encode("utf-8", "replace")
