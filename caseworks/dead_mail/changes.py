"""What is replayed instead of what died: patched, or edited by hand. Pure.

Of a task it is the agent's input that changes, of an event its data (its envelope, where it came
in structured mode). A command is replayed as it was or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from caseworks.dead_mail.editing import canonical, diff, merge_patch, read_json, readable
from caseworks.dead_mail.letters import Dead, kind_of, payload_of
from events.envelope import STRUCTURED
from events.errors import PayloadError
from events.settings import Settings

CHANGED_CHARS_MAX = 16_000


@dataclass(frozen=True, slots=True)
class Given:
    """What is sent instead: of a task the `input`, of an event the `value`."""

    input: Any = None
    value: bytes | None = None
    changed: str = ""
    """The change as a unified diff of canonical JSON, cut to `CHANGED_CHARS_MAX`."""


def editable(dead: Dead, settings: Settings) -> str:
    """The text that a person edits: JSON where it can be, else what there is.

    Raises `PayloadError` for what cannot be edited.
    """
    match kind_of(dead.message.topic, settings.topics):
        case "task":
            return canonical(input_of(dead))
        case "event":
            return readable(dead.message.value) if dead.message.value else ""
        case _:
            raise _fixed(dead)


def edited(dead: Dead, settings: Settings, text: str) -> Given | None:
    """What a person made of it; `None`: the same as before. Raises `PayloadError`."""
    value = read_json(text, "the edited text")
    if kind_of(dead.message.topic, settings.topics) == "task":
        return _input(dead, settings, value)
    return _value(dead, settings, to_json(value))


def patched(dead: Dead, settings: Settings, patch: Any) -> Given | None:
    """What an RFC 7396 merge patch makes of it; `None`: the same as before.

    Raises `PayloadError`.
    """
    match kind_of(dead.message.topic, settings.topics):
        case "task":
            return _input(dead, settings, merge_patch(input_of(dead), patch))
        case "event":
            return _value(dead, settings, _patched_event(dead, patch))
        case _:
            raise _fixed(dead)


def input_of(dead: Dead) -> Any:
    """What the agent got: the task's input, else its event's data.

    Raises `PayloadError` when the task cannot be read.
    """
    try:
        task = payload_of(dead.message.value)
        given = task.get("input")
        return task["event"]["data"] if given is None else given
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        told = f"{dead.place}: its task cannot be read, so there is nothing to change: {error}"
        raise PayloadError("unreadable", told) from None


def _patched_event(dead: Dead, patch: Any) -> bytes:
    try:
        value = payload_of(dead.message.value)
    except ValueError as error:
        told = f"{dead.place}: it is not JSON, so it cannot be patched: --edit it ({error})"
        raise PayloadError("unreadable", told) from None
    if is_structured(dead):
        data = value.get("data") if isinstance(value, dict) else None
        return to_json({**value, "data": merge_patch(data, patch)})
    return to_json(merge_patch(value, patch))


def is_structured(dead: Dead) -> bool:
    """Whether the event's attributes stand in its value."""
    content_type = dead.message.header("content-type") or ""
    return content_type.partition(";")[0].strip().lower() == STRUCTURED


def _input(dead: Dead, settings: Settings, value: Any) -> Given | None:
    before, after = canonical(input_of(dead)), canonical(value)
    if value is None:
        told = f"{dead.place}: null is no input: it stands for what the agent got before"
        raise PayloadError("null_input", told)
    if len(after) > settings.case_bytes_max:
        told = f"{dead.place}: {len(after)} bytes are too many for a case"
        raise PayloadError("too_large", f"{told} (case_bytes_max {settings.case_bytes_max})")
    if before == after:
        return None
    return Given(input=value, changed=_change(before, after))


def _value(dead: Dead, settings: Settings, value: bytes) -> Given | None:
    if len(value) > settings.event_bytes_max:
        told = f"{dead.place}: {len(value)} bytes are too many for an event"
        raise PayloadError("too_large", f"{told} (event_bytes_max {settings.event_bytes_max})")
    before, after = readable(dead.message.value), readable(value)
    if before == after:
        return None
    return Given(value=value, changed=_change(before, after))


def _change(before: str, after: str) -> str:
    return diff(before, after, "died", "replayed")[:CHANGED_CHARS_MAX]


def _fixed(dead: Dead) -> PayloadError:
    return PayloadError("fixed", f"{dead.place}: it can only be replayed as it was")
