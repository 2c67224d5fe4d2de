"""What the orchestrator knows of the fleet: what is away, and how many retries it may send.

It reads the decisions of the controller from `control`, once a second, as intake reads the counts
of open cases. Nothing here is written to a changelog: what comes of it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from coordinator.retries import RetryBudgets
from events.broker import Message, TopicPartition
from schemas.agent import AgentSpec
from schemas.control import CONTROL_VERSION, Breaker


@dataclass(slots=True)
class Outages:
    """Dependencies whose breaker is not closed: a `Watch` that no loop waits for."""

    log: TopicPartition
    since: dict[str, float] = field(default_factory=dict)
    """By dependency: since when, in seconds since the epoch."""

    @property
    def full(self) -> bool:
        """Never."""
        return False

    @property
    def said(self) -> Mapping[str, int]:
        """Nothing: nobody waits."""
        return {}

    def learn(self, messages: Sequence[Message]) -> bool:
        """Take decisions over; those that cannot be read change nothing."""
        for message in messages:
            if message.header("ce_type") != Breaker.ce_type or message.value is None:
                continue
            try:
                said = Breaker.from_json(message.value)
            except ValidationError:
                continue
            if said.v > CONTROL_VERSION:
                continue
            if said.state == "closed":
                self.since.pop(said.dependency, None)
            else:
                at = said.at.timestamp() if said.at is not None else message.timestamp_ms / 1000
                self.since.setdefault(said.dependency, at)
        return False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The surroundings of cases in a running orchestrator."""

    agents: Mapping[str, AgentSpec]
    outages: Outages | None
    retries: RetryBudgets

    def away(self, agent: str) -> float | None:
        """Since when something that the agent calls has been away (epoch seconds), if it is."""
        if self.outages is None or not self.outages.since or agent not in self.agents:
            return None
        since = self.outages.since
        known = [since[name] for name in self.agents[agent].calls if name in since]
        return min(known, default=None)

    def retry_at(self, agent: str, due: float, now: float) -> float:
        """When a retry that is due then may be sent: then, or later."""
        return self.retries.retry_at(agent, due, now)
