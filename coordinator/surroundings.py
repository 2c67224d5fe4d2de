"""What the case machine asks about the world around its case: given like the time, never fetched.

The answers decide what the case becomes, and what it becomes is written; so a changelog that is
replayed gives the same state whatever the world looks like by then (I5).
"""

from __future__ import annotations

from typing import Protocol


class Surroundings(Protocol):
    """What is known of the fleet at this moment."""

    def away(self, agent: str) -> float | None:
        """Since when something that the agent calls has been away (epoch seconds), if it is."""

    def retry_at(self, agent: str, due: float, now: float) -> float:
        """When a retry that is due then may be sent: then, or later."""


class Quiet:
    """Nothing is away, and nothing is held back."""

    def away(self, agent: str) -> float | None:
        """Nothing ever is."""
        del agent
        return None

    def retry_at(self, agent: str, due: float, now: float) -> float:
        """As it is due."""
        del agent, now
        return due


QUIET: Surroundings = Quiet()
