"""What workers and people ask (`requests`) and what was decided (`control`), keyed `kind:name`."""

from __future__ import annotations

from typing import ClassVar, Literal

from schemas.base import Instant, Message

BreakerState = Literal["closed", "open", "half_open"]


class OpenCases(Message):
    """How many cases the owner of an inbox partition holds open; key `open:<partition>`."""

    ce_type: ClassVar[str] = "caseworks.control.open"

    partition: int
    open: int
    at: Instant


class Breaker(Message):
    """A dependency's breaker for the whole fleet; key `breaker:<dependency>`."""

    ce_type: ClassVar[str] = "caseworks.control.breaker"

    dependency: str
    state: BreakerState
    epoch: int = 0
    until: Instant | None = None
    reason: str = ""


class Pause(Message):
    """An agent that takes no new work; key `pause:<agent>`."""

    ce_type: ClassVar[str] = "caseworks.control.pause"

    agent: str
    paused: bool
    reason: str = ""
    by: str = ""
