"""What workers and people ask (`requests`) and what was decided (`control`), keyed `kind:name`.

Requests: reports of workers about a dependency, the wish to probe it, and orders of people.
Decisions: breakers with their probe leases, and pauses. Times in decisions are the controller's.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from schemas.base import Instant, Message, Name

CONTROL_VERSION = 1
"""A record of a later version is not understood, and never guessed at."""
BreakerState = Literal["closed", "open", "half_open"]
BreakerOrdered = Literal["open", "close", "hold", "release"]


class OpenCases(Message):
    """How many cases the owner of an inbox partition holds open; key `open:<partition>`."""

    ce_type: ClassVar[str] = "caseworks.control.open"

    partition: int
    open: int
    at: Instant


class Probe(Message):
    """The one call that may go through while a breaker is half-open, leased to a worker."""

    worker: str
    until: Instant
    """After that nobody waits for its answer any more."""


class Breaker(Message):
    """A dependency's breaker for the whole fleet; key `breaker:<dependency>`."""

    ce_type: ClassVar[str] = "caseworks.control.breaker"

    v: int = CONTROL_VERSION
    dependency: Name
    state: BreakerState = "closed"
    epoch: int = 0
    """Counts the transitions: what was seen of an earlier one decides nothing."""
    until: Instant | None = None
    """Of an open breaker: when the first probe may be asked for."""
    reset_s: float = 0.0
    """How long it stays open; doubles with each failed probe."""
    probe: Probe | None = None
    ramp_until: Instant | None = None
    """Closed a moment ago: until then the backlog is taken up slowly."""
    held: bool = False
    """A person holds it as it is: no report moves it."""
    reason: str = ""
    by: str = ""
    at: Instant | None = None


class Pause(Message):
    """An agent that takes no new work; key `pause:<agent>`."""

    ce_type: ClassVar[str] = "caseworks.control.pause"

    v: int = CONTROL_VERSION
    agent: Name
    paused: bool
    agent_version: str = ""
    """Only this version is paused; empty: every one."""
    reason: str = ""
    by: str = ""
    at: Instant | None = None


class BreakerReport(Message):
    """What a worker saw of a dependency; key `breaker:<dependency>`."""

    ce_type: ClassVar[str] = "caseworks.request.breaker"

    dependency: Name
    verdict: Literal["failing", "well"]
    epoch: int
    """The epoch of the breaker that it saw."""
    worker: str
    retry_after_s: float | None = Field(default=None, ge=0)
    """What the dependency asked for."""
    reason: str = ""


class ProbeWanted(Message):
    """A worker wants to try a dependency whose breaker was open long enough."""

    ce_type: ClassVar[str] = "caseworks.request.probe"

    dependency: Name
    epoch: int
    worker: str


class BreakerOrder(Message):
    """A person's order about a breaker."""

    ce_type: ClassVar[str] = "caseworks.request.breaker_order"

    dependency: Name
    order: BreakerOrdered
    by: str = ""
    why: str = ""


class PauseOrder(Message):
    """A person, or a limiter, wants an agent paused or resumed; key `pause:<agent>`."""

    ce_type: ClassVar[str] = "caseworks.request.pause_order"

    agent: Name
    paused: bool
    agent_version: str = ""
    by: str = ""
    why: str = ""


Request = BreakerReport | ProbeWanted | BreakerOrder | PauseOrder
REQUESTS: dict[str, type[Request]] = {
    model.ce_type: model for model in (BreakerReport, ProbeWanted, BreakerOrder, PauseOrder)
}
"""The requests by `ce_type`."""
Decision = Breaker | Pause
DECISIONS: dict[str, type[Decision]] = {model.ce_type: model for model in (Breaker, Pause)}
"""What the controller decides, by `ce_type`."""
