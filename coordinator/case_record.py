"""A case as a record of its changelog, and back: the version of the format, and what is kept.

An open case is its JSON with `v` first; a closed one only a mark, for the dedupe window. A record
of a later version is refused, never guessed at; one of an earlier version is upgraded step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from events.broker import Message
from events.errors import ChangelogError
from schemas.lean_case import CASE_VERSION, CLOSED, Case, ClosedCase

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: Mapping[int, Upgrade] = {}
"""By version: makes a record of that version one of the next."""
_CLOSED_MARK = b'{"closed":'
"""How a `ClosedCase` begins: told apart from an open one without parsing."""
_HEAD = b'{"v":%d,' % CASE_VERSION


def encode_case(case: Case | None) -> bytes | None:
    """A case as a changelog record: whole while it may go on, else a mark; `None`: a tombstone."""
    if case is None:
        return None
    if keeps_whole(case):
        return _HEAD + case.to_compact_json()[1:]
    return ClosedCase(closed=case.closed or 0.0, status=case.status).to_json()


def keeps_whole(case: Case) -> bool:
    """A closed case is kept whole only while a dead letter may bring it back."""
    return case.status not in CLOSED or bool(case.dead_letters)


def decode_case(data: bytes) -> Case:
    """An open case. Raises `ChangelogError`, which names no place."""
    if data.startswith(_HEAD):
        try:
            return Case.from_json(data)
        except ValueError as error:  # of msgspec, or of a model within
            raise ChangelogError(str(error).partition("\n")[0]) from None
    return _upgraded(data)


def read_record(message: Message) -> Case | ClosedCase | None:
    """What a record of a case says; `None` is a tombstone. Raises `ChangelogError`: where, what."""
    value = message.value
    try:
        if value is None:
            return None
        if value.startswith(_CLOSED_MARK):
            return _closed(value)
        return _with_event(decode_case(value))
    except ChangelogError as error:
        raise unreadable(message, str(error)) from None


def unreadable(message: Message, why: str) -> ChangelogError:
    """A record that nobody can read."""
    key = (message.key or b"").decode("utf-8", "backslashreplace")
    return ChangelogError(
        f"{message.topic}:{message.partition} offset {message.offset}, key {key!r}: {why}",
        hint="run the Caseworks that wrote it; its partition stands still until then",
    )


def _with_event(case: Case) -> Case:
    """A case whose event can be read, too: it is not looked at otherwise until it is needed."""
    try:
        _ = case.event.id
    except ValueError as error:
        raise ChangelogError(str(error).partition("\n")[0]) from None
    return case


def _closed(value: bytes) -> ClosedCase:
    try:
        closed = ClosedCase.from_json(value)
    except ValidationError as error:
        raise ChangelogError(_first(error)) from None
    if closed.v > CASE_VERSION:
        raise _too_new(closed.v)
    return closed


def _upgraded(data: bytes) -> Case:
    """A case of another version than this one's."""
    try:
        fields = from_json(data)
        version = int(fields.get("v", 1))  # the first records did not say it
    except (ValueError, AttributeError, TypeError):
        raise ChangelogError("it is no JSON object") from None
    if version > CASE_VERSION:
        raise _too_new(version)
    for each in range(version, CASE_VERSION):
        fields = UPGRADES[each](fields) if each in UPGRADES else fields
    try:
        return Case.from_json(to_json({**fields, "v": CASE_VERSION}))
    except ValueError as error:
        raise ChangelogError(str(error).partition("\n")[0]) from None


def _too_new(version: int) -> ChangelogError:
    return ChangelogError(
        f"it has version {version}, and this Caseworks reads up to {CASE_VERSION}"
    )


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
