"""What breakers and worker loops ask of the fleet: the port, and a process that is on its own.

`agents.limits.fleet_view` is what stands behind it in a worker process.
"""

from __future__ import annotations

from typing import Literal, Protocol

from events.logs import get_logger

Standing = Literal["free", "slow", "single", "shut"]
"""Of work for a dependency, or of an agent: as it comes; slowly; one at a time; not at all."""
SEVERITY: dict[Standing, int] = {"free": 0, "slow": 1, "single": 2, "shut": 3}

_log = get_logger("caseworks.fleet")


class Passage(Protocol):
    """A call that was let through; ends with exactly one of these."""

    def succeeded(self) -> None:
        """It returned."""

    def failed(self, error: Exception) -> None:
        """It raised. A `PermanentError` is an answer: the dependency is well."""

    def cancelled(self) -> None:
        """It was given up: nothing is known."""


class Fleet(Protocol):
    """What breakers and worker loops ask of the fleet."""

    @property
    def ready(self) -> bool:
        """Whether the decisions were read, or waited for long enough."""

    def standing(self, dependency: str) -> Standing | None:
        """How work for it may go on; `None`: the process's own breaker decides."""

    def closed_epoch(self, dependency: str) -> int:
        """The epoch that closed its breaker, else 0: a new one closes the process's own as well."""

    def paused(self, agent: str, version: str) -> bool:
        """Whether that agent takes no new work."""

    def wait_s(self, dependency: str) -> float:
        """When to come back, in seconds from now; 0 when calls are let through."""

    async def enter(self, dependency: str) -> Passage | None:
        """A lease for the probe; `None`: closed. Raises `DependencyOpenError`."""

    def failing(self, dependency: str, error: BaseException) -> None:
        """The process's own breaker has opened."""

    def pause(self, agent: str, version: str, why: str) -> None:
        """Ask that this version of an agent takes no new work."""


class NoFleet:
    """A process on its own: its breakers decide, nothing is paused."""

    ready = True

    def standing(self, dependency: str) -> Standing | None:
        del dependency
        return None

    def closed_epoch(self, dependency: str) -> int:
        del dependency
        return 0

    def paused(self, agent: str, version: str) -> bool:
        del agent, version
        return False

    def wait_s(self, dependency: str) -> float:
        del dependency
        return 0.0

    async def enter(self, dependency: str) -> Passage | None:
        del dependency
        return None

    def failing(self, dependency: str, error: BaseException) -> None:
        """Nobody to tell."""

    def pause(self, agent: str, version: str, why: str) -> None:
        """Said in the log alone."""
        _log.error("agent_should_pause", agent=agent, version=version, why=why)


NO_FLEET: Fleet = NoFleet()
