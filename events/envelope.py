"""CloudEvents 1.0 on Kafka: binary mode out; binary and structured mode in.

Incoming events are checked for their attributes only; their data is checked against the
workflow's schema by intake. Source: the CloudEvents Kafka protocol binding 1.0.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import floor, isfinite
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from events.broker import Headers, Message, Record
from events.errors import PayloadError
from schemas.base import Message as Model
from schemas.base import instant
from schemas.dead_letter import IntakeReason
from schemas.event import Event
from schemas.stored_event import StoredEvent

JSON = b"application/json"
STRUCTURED = "application/cloudevents+json"
WRITER = "cw-tx"
"""Header with the transactional id of a record's writer (rule 4)."""

EXTENSIONS = ("tenant", "priority", "deadline", "dataclass")
_TRAVELLING = frozenset((*(f"ce_{name}" for name in EXTENSIONS), "traceparent", "ce_subject"))
_REQUIRED = ("specversion", "id", "source", "type")
ATTRIBUTE_CHARS_MAX = 1024
DEPTH_MAX = 100
"""Nesting of an event's data; parsers stop at about 200, and messages wrap it a few levels."""


# --- out


def record_of(  # noqa: PLR0913 - the attributes of one envelope
    model: Model,
    ce_type: str,
    *,
    topic: str,
    key: str,
    ce_id: str,
    source: str,
    now: float,
    travelling: Headers = (),
    partition: int | None = None,
) -> Record:
    """A message in binary mode. `travelling` is `travelling_of(...)` of its case or task."""
    headers = headers_of(ce_type, source, ce_id.encode(), rfc3339(now)) + travelling
    return Record(topic, key.encode(), model.to_json(), headers, partition)


def event_record(event: Event, topic: str, value: bytes) -> Record:
    """A business event in binary mode, keyed by its subject, else its id."""
    time = rfc3339(event.time.timestamp())
    headers = headers_of(event.type, event.source, event.id.encode(), time)
    key = (event.subject or event.id).encode()
    return Record(topic, key, value, headers + travelling_of(event))


def headers_of(ce_type: str, source: str, ce_id: bytes, time: bytes) -> Headers:
    """The attributes that every message has."""
    return (*_shared_headers(ce_type, source), ("ce_id", ce_id), ("ce_time", time))


@lru_cache(maxsize=256)
def _shared_headers(ce_type: str, source: str) -> Headers:
    """What all messages of one type and source have in common."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", ce_type.encode()),
        ("content-type", JSON),
    )


def travelling_of(event: Event | StoredEvent) -> Headers:
    """What travels on every message of a case: subject, extensions, trace."""
    found: list[tuple[str, bytes]] = []
    if event.subject is not None:
        found.append(("ce_subject", event.subject.encode()))
    if event.tenant is not None:
        found.append(("ce_tenant", event.tenant.encode()))
    if event.priority != "normal":
        found.append(("ce_priority", event.priority.encode()))
    if event.deadline is not None:
        found.append(("ce_deadline", rfc3339(event.deadline.timestamp())))
    if event.dataclass is not None:
        found.append(("ce_dataclass", event.dataclass.encode()))
    if event.traceparent is not None:
        found.append(("traceparent", event.traceparent.encode()))
    return tuple(found)


def travelling_from(message: Message) -> Headers:
    """The same, read from a message of the case."""
    return tuple([header for header in message.headers if header[0] in _TRAVELLING])


def rfc3339(epoch_s: float) -> bytes:
    """Seconds since the epoch as RFC 3339 in UTC, with microseconds.

    Raises `ValueError` or `OverflowError` for a time that is out of range.
    """
    second = floor(epoch_s)
    micros = round((epoch_s - second) * 1e6)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return b"%b.%06dZ" % (_to_the_second(second), micros)


@lru_cache(maxsize=64)  # what is written at one time is of few different seconds
def _to_the_second(epoch_s: int) -> bytes:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().removesuffix("+00:00").encode()


# --- in


def read_event(message: Message, bytes_max: int) -> Event:
    """The business event in a record, in either mode.

    Raises `PayloadError` whose reason is a `schemas.dead_letter.IntakeReason`.
    """
    if message.value is None:
        raise _refused("null_value", "the value is null")
    if len(message.value) > bytes_max:
        raise _refused("too_large", f"{len(message.value)} bytes, the limit is {bytes_max}")
    headers = _unique_headers(message.headers)
    content_type = _media_type(headers.get("content-type", "application/json"))
    if content_type == STRUCTURED:
        envelope = _json(message.value)
        if not isinstance(envelope, dict):
            raise _refused("not_json", "a structured event must be a JSON object")
        return _event(message, envelope, envelope.get("data"))
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise _refused("content_type", f"content type {content_type!r} is not JSON")
    attributes: dict[str, Any] = {
        name.removeprefix("ce_"): value for name, value in headers.items() if name[:3] == "ce_"
    }
    if "traceparent" in headers:
        attributes["traceparent"] = headers["traceparent"]
    _check_required(attributes)
    return _event(message, attributes, _json(message.value))


def _unique_headers(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name in found:
            if name[:3] == "ce_" or name == "content-type":
                raise _refused("duplicate_header", f"header {name!r} stands twice")
            continue
        try:
            found[name] = value.decode() if value is not None else ""
        except UnicodeDecodeError:
            if name[:3] == "ce_" or name == "content-type":
                raise _refused("bad_attribute", f"header {name!r} is not UTF-8") from None
    return found


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _json(value: bytes) -> Any:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise _refused("not_utf8", f"byte {error.start} is not UTF-8") from None
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise _refused("not_json", str(error)) from None


def _check_required(attributes: dict[str, Any]) -> None:
    for name in _REQUIRED:
        if not attributes.get(name):
            raise _refused("missing_attribute", f"the CloudEvents attribute {name!r} is missing")


def _event(message: Message, attributes: dict[str, Any], data: Any) -> Event:
    _check_required(attributes)
    if attributes["specversion"] != "1.0":
        raise _refused("bad_attribute", f"specversion {attributes['specversion']!r} is not 1.0")
    for name in (*_REQUIRED, "subject", *EXTENSIONS):
        value = attributes.get(name)
        if isinstance(value, str) and (len(value) > ATTRIBUTE_CHARS_MAX or "\x00" in value):
            raise _refused("bad_attribute", f"{name!r} is too long or holds a null character")
    fields: dict[str, Any] = {
        name: attributes[name]
        for name in ("id", "source", "type", "subject", "traceparent", *EXTENSIONS)
        if attributes.get(name)
    }
    fields["time"] = attributes.get("time") or instant(message.timestamp_ms / 1000)
    if is_hostile(data):
        raise _refused("not_json", f"nested deeper than {DEPTH_MAX}, or a number out of range")
    try:
        event = Event(data=data, **fields)
        travelling_of(event)
        rfc3339(event.time.timestamp())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _refused("bad_attribute", f"{place}: {first['msg']}") from None
    except (ValueError, OverflowError) as error:
        raise _refused("bad_attribute", f"a time is out of range: {error}") from None
    return event


def is_hostile(value: Any, left: int = DEPTH_MAX) -> bool:
    """Whether JSON is nested too deep to travel on inside other messages, or holds an infinity."""
    kind = type(value)
    if kind is float:
        return not isfinite(value)
    if kind is not dict and kind is not list:
        return False
    if left == 0:
        return True
    for each in value.values() if kind is dict else value:
        inner = type(each)  # most are plain: a call for each would cost more than the rest
        if inner is not str and inner is not int and is_hostile(each, left - 1):
            return True
    return False


def _refused(reason: IntakeReason, text: str) -> PayloadError:
    return PayloadError(reason, text)
