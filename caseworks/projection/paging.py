"""Cursors: the place of the last item that was given, so that new items move nothing. Pure."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from caseworks.projection.views import Page
from events.errors import PayloadError

LIMIT_MAX = 500
"""Items of one page at the most; who asks for more gets so many."""
T = TypeVar("T")
INT_MAX = 2**63


def within(limit: int) -> int:
    """A limit that may be asked for."""
    return max(1, min(LIMIT_MAX, limit))


def cursor_of(at: int, tie: int | str) -> str:
    """The cursor after an item, by its time and what tells it from others of that time."""
    return urlsafe_b64encode(json.dumps([at, tie]).encode()).decode().rstrip("=")


def read_cursor(text: str, tie: type[int | str]) -> tuple[int, int | str]:
    """What a cursor names. Raises `PayloadError` for one that no page gave."""
    try:
        padded = text + "=" * (-len(text) % 4)
        at, last = json.loads(urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError):
        at = last = None
    if type(at) is not int or type(last) is not tie or not _fits(at) or not _fits(last):
        raise PayloadError("cursor", "the cursor is none that a page gave")
    return at, last


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or -INT_MAX <= value < INT_MAX


def page_of(
    rows: Sequence[Any], limit: int, view: Callable[[Any], T], place: Callable[[Any], str]
) -> Page[T]:
    """A page of rows, of which one more than the limit was asked for."""
    more = len(rows) > limit
    return Page(
        items=[view(row) for row in rows[:limit]],
        next=place(rows[limit - 1]) if more else None,
    )
