"""What is said to a model, and how its answer is read."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from agents.mind.port import Reply, Turn

T = TypeVar("T")

SHOWN_CHARS_MAX = 2000
"""How much of an answer that does not fit, and of the reasons, the model is shown again."""
ERRORS_MAX = 10

_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
# A line's end stands before the closing fence: inside of JSON there can be none.
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_JSON_STARTS = frozenset('{["')


def opening(
    prompt: str, system: str | None, images: Sequence[bytes | str], schema: dict[str, Any] | None
) -> tuple[Turn, ...]:
    """The first turns: what the model is, what its answer must look like, and what is asked."""
    rules = [system] if system else []
    if schema is not None:
        rules.append(
            "Answer with one JSON value and nothing else. It must fit this JSON Schema:\n"
            + json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
        )
    turns: list[Turn] = [{"role": "system", "content": "\n\n".join(rules)}] if rules else []
    content: Any = prompt
    if images:
        pictures = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
        content = [{"type": "text", "text": prompt}, *pictures]
    return (*turns, {"role": "user", "content": content})


def repair(answer: str, wrong: str) -> tuple[Turn, Turn]:
    """The answer that does not fit, and why."""
    told = f"That does not fit: {wrong}. Give the whole answer again, corrected, and nothing else."
    return (
        {"role": "assistant", "content": answer[:SHOWN_CHARS_MAX] or "(no answer)"},
        {"role": "user", "content": told},
    )


def schema_of(output_type: Any) -> dict[str, Any] | None:
    """The JSON Schema of an answer; `None` for plain text."""
    return None if output_type is str else _schema(output_type)


def read(output_type: type[T], reply: Reply) -> T:
    """The answer as its type. Raises `ValueError` saying what does not fit."""
    kind: Any = output_type
    answer: Any = reply.text
    try:
        if kind is not str:
            answer = _adapter(kind).validate_json(_json_in(reply.text))
    except ValidationError:
        if not reply.cut:
            raise
    else:
        if kind is not str or not reply.cut:
            fits: T = answer
            return fits
    raise ValueError(f"it was cut off after {reply.tokens_out} tokens, so it must be shorter")


def explained(error: ValueError, place: str = "the answer") -> str:
    """Where something does not fit and why, in words for a model; `place` names the whole."""
    if not isinstance(error, ValidationError):
        return str(error)[:SHOWN_CHARS_MAX]
    lines = [
        f"{'.'.join(str(part) for part in each['loc']) or place}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)[:ERRORS_MAX]
    ]
    return "; ".join(lines)[:SHOWN_CHARS_MAX]


def shown(turn: Turn) -> str:
    """The text of a turn."""
    content = turn["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


@lru_cache(maxsize=256)
def _adapter(output_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(output_type)


@lru_cache(maxsize=256)
def _schema(output_type: Any) -> dict[str, Any]:
    return _adapter(output_type).json_schema()


def _url(image: bytes | str) -> str:
    if isinstance(image, str):
        return image
    kind = next((kind for magic, kind in _MAGIC.items() if image.startswith(magic)), "image/png")
    return f"data:{kind};base64,{b64encode(image).decode()}"


def _json_in(text: str) -> str:
    """The JSON in an answer: models like to put it into a code fence, or words before it."""
    if fenced := _FENCE.search(text):
        return fenced[1]
    start, end = text.find("{"), text.rfind("}")
    if 0 < start < end and text.lstrip()[0] not in _JSON_STARTS:
        return text[start : end + 1]
    return text
