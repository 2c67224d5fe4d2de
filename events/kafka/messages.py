"""From the client library's messages to ours: the hot path of every consumer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from events.broker import Message
from events.kafka.config import log


def to_messages(raw: Sequence[Any], epochs: Mapping[Any, int]) -> list[Message]:
    """Convert consumed messages (none of them an error); `epochs` by topic and partition."""
    messages: list[Message] = []
    append = messages.append
    while len(messages) < len(raw):
        try:
            for m in raw[len(messages) :] if messages else raw:
                topic, partition = m.topic(), m.partition()
                append(
                    Message(
                        topic,
                        partition,
                        m.offset(),
                        m.timestamp()[1],
                        m.key(),
                        m.value(),
                        tuple(m.headers() or ()),
                        epochs[topic, partition],
                    )
                )
        except (SystemError, UnicodeDecodeError):
            append(_without_headers(raw[len(messages)], epochs))
    return messages


def _without_headers(m: Any, epochs: Mapping[Any, int]) -> Message:
    """A message with a header name that is not UTF-8.

    The library fails on it once, and then returns headers that must not be touched. Whoever
    needs a header will find it missing and refuse the message.
    """
    topic, partition, offset = m.topic(), m.partition(), m.offset()
    log.error("headers of %s:%s:%s cannot be read: a name is not UTF-8", topic, partition, offset)
    epoch = epochs[topic, partition]
    return Message(topic, partition, offset, m.timestamp()[1], m.key(), m.value(), (), epoch)
