"""What a `reconcile` function says of a call that was begun, and of which nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Happened:
    """It happened; `result` is what the call would have returned."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """It did not, and will not any more: it is tried again."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """The outside system cannot tell either: a person must find out."""

    why: str = ""


Finding = Happened | DidNotHappen | Unclear
