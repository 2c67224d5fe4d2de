"""Dead letters in words and as JSON; nothing of them reaches the terminal as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caseworks.cli.output import plain, say
from caseworks.dead_mail.letters import agent_of
from caseworks.dead_mail.reading import case_of
from schemas.dead_letter import PREFIX

if TYPE_CHECKING:
    from caseworks.dead_mail.letters import Dead
    from events.settings import Settings
    from schemas.letter_audit import LetterHandled
    from schemas.usage import Usage

PAYLOAD_CHARS_MAX = 20_000
"""More of a payload is left to --json."""
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def as_json(
    dead: Dead, settings: Settings, now: float, handled: LetterHandled | None
) -> dict[str, Any]:
    """Everything about a letter."""
    message = dead.message
    return {
        "place": dead.place,
        **dead.letter.model_dump(mode="json"),
        "case_id": case_of(dead, settings) or None,
        "agent": agent_of(message.topic, settings.topics) or None,
        "tenant": message.header("ce_tenant"),
        "age_s": round(now - message.timestamp_ms / 1000, 3),
        "handled": handled.model_dump(mode="json") if handled else None,
        "headers": [
            [name, text_of(value)] for name, value in message.headers if not name.startswith(PREFIX)
        ],
        "key": None if message.key is None else text_of(message.key),
        "value": None if message.value is None else text_of(message.value),
    }


def text_of(value: bytes | None) -> str:
    """Bytes as text; what is no UTF-8 is escaped."""
    return (value or b"").decode("utf-8", "backslashreplace")


def age(seconds: float) -> str:
    """How long, in the largest unit that fits."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def done_to(handled: LetterHandled | None, now: float) -> str:
    """What was done to a letter last."""
    if handled is None:
        return ""
    verb = "replayed" if handled.action == "replay" else "dropped"
    return f"{verb} by {handled.by} {age(now - handled.at.timestamp())} ago"


def payload_lines(value: bytes | None) -> list[str]:
    """A payload for people: indented JSON, else text with what is odd escaped."""
    from caseworks.dead_mail.editing import readable

    if value is None:
        return ["null"]
    text = readable(value)
    cut = text[:PAYLOAD_CHARS_MAX]
    lines = [plain(line) for line in cut.splitlines()]
    if len(cut) < len(text):
        lines.append(f"… {len(value)} bytes altogether; --json has all of them")
    return lines


def block(title: str, lines: list[str]) -> None:
    """A titled block of lines that are fit for a terminal already."""
    say("")
    say(title)
    for line in lines:
        say(f"  {line}")


def money(usage: Usage) -> str:
    """What results cost: `1,200 tokens and $0.02`."""
    return f"{usage.tokens_in + usage.tokens_out:,} tokens and ${usage.usd:f}"
