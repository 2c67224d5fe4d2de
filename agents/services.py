"""What the agents of one process share; made by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.effects.effects import NO_EFFECTS, EffectPort
from agents.limits.dependencies import Dependencies
from agents.limits.failures import FailureLimits
from agents.mind.port import NO_MODEL, ModelPort
from events import metrics
from events.broker import Producer


class Threads(Protocol):
    """Runs what blocks."""

    stuck: int
    """Calls that were given up and still run."""

    def run(self, work: Callable[[], Any]) -> Awaitable[Any]:
        """Run it in a thread of its own; to be called on the event loop."""


class Processes(Protocol):
    """Runs agents that have processes of their own; takes a `Call`, gives a `Verdict`."""

    def run(self, call: Any) -> Coroutine[Any, Any, Any]:
        """The innermost handler of such agents."""


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """The bounds of every attempt, and of what attempts leave behind."""

    output_bytes_max: int = 262_144
    outcome_bytes_max: int = 900_000
    """An outcome above it goes without the bytes of its task."""
    grace_s: float = 2.0
    """How long a cancelled agent may take to end before it is given up."""
    abandoned_max: int = 32
    """Runs and threads that were given up and still run; beyond it the process restarts."""
    stuck_after_s: float = 5.0
    """The event loop has not turned for so long: the stacks are logged, the process is unready."""
    stuck_max_s: float = 60.0
    """For so long, whoever blocks it: the process restarts."""
    progress_max: int = 100
    """Progress reports of one attempt."""
    repairs_max: int = 2
    """How often a model is shown what is wrong with its answer."""
    failures: FailureLimits = FailureLimits()  # noqa: RUF009 - frozen
    """When a version of an agent asks to be paused."""


@dataclass(frozen=True, slots=True)
class Services:
    """The outside of an agent's attempt."""

    producer: Producer
    now: Callable[[], float]
    """Seconds since the epoch."""
    dependencies: Dependencies
    threads: Threads
    processes: Processes | None = None
    """Without, all agents run in the worker: in the simulator."""
    worker: str = "worker"
    """Name of this process, in every outcome."""
    namespace: str = "cw"
    model: ModelPort = NO_MODEL
    around: tuple[Callable[[Any], Any], ...] = ()
    """More wrappers around the stack of every agent, outermost first."""
    effects: EffectPort = NO_EFFECTS
    telemetry: metrics.Telemetry = metrics.NULL
    limits: WorkLimits = field(default_factory=WorkLimits)

    @property
    def source(self) -> str:
        """The `ce_source` of what this process writes."""
        return f"caseworks/{self.namespace}/{self.worker}"
