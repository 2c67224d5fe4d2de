"""What an agent is: a named skill with a version and limits."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from schemas.base import Message, Name
from schemas.usage import NO_LIMIT, Budget


class AgentSpec(Message):
    """An agent as the coordinator and other languages see it."""

    name: Name
    version: str = "1"
    timeout_s: float = Field(default=30.0, gt=0)
    """Run time of one attempt, enforced by the worker."""
    tries_max: PositiveInt = 3
    """Tries inside one attempt after transient errors, within its time."""
    in_flight_max: PositiveInt = 64
    iterations_max: PositiveInt = 10
    calls: tuple[Name, ...] = ()
    """The dependencies it calls; each has a breaker and a bulkhead."""
    order_by: str | None = None
    """`case` or `subject`: the agent wants its tasks of one key in order."""
    budget: Budget = NO_LIMIT
    output_schema: dict[str, Any] = Field(default_factory=dict)
