"""Changing what a dead letter holds, and saying what changed. Pure."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any

from pydantic_core import from_json

from events.envelope import is_hostile
from events.errors import PayloadError

LINES_MAX = 20_000
"""Longer texts are not compared line by line: that would take minutes."""


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with a JSON merge patch applied: RFC 7396, section 2; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def read_json(text: str | bytes, what: str) -> Any:
    """JSON that may travel. Raises `PayloadError` naming *what* is wrong, and where."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise PayloadError("not_json", f"{what} is not JSON: {error}") from None
    if is_hostile(value):
        told = f"{what} is nested too deep, or holds a number that is out of range"
        raise PayloadError("not_json", told)
    return value


def canonical(value: Any) -> str:
    """JSON with sorted names, one value a line, in ASCII; ends with a line end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def readable(value: bytes | None) -> str:
    """Bytes for a comparison: canonical JSON, else text with everything odd escaped."""
    if value is None:
        return "null\n"
    try:
        return canonical(from_json(value))
    except ValueError:
        return value.decode("utf-8", "backslashreplace") + "\n"


def diff(before: str, after: str, name_before: str, name_after: str) -> str:
    """A unified diff of two texts; empty when they are the same."""
    if before == after:
        return ""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > LINES_MAX:
        return f"--- {name_before}\n+++ {name_after}\n@@ over {LINES_MAX} lines: not compared @@\n"
    lines = unified_diff(old, new, name_before, name_after, lineterm="")
    return "\n".join(lines) + "\n"
