"""Every outside thing that agents call, each behind its breaker and its bulkhead.

One set per process, shared by all its agents, used on their event loop: what one agent learns of
a dependency spares the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agents.limits.breaker import Breaker, Clock
from agents.limits.bulkhead import Bulkhead
from events import metrics
from events.errors import DependencyOpenError, HaltedError


@dataclass(frozen=True, slots=True)
class DependencyLimits:
    """The bounds of one dependency."""

    failures_max: int = 5
    """Failures in a row that open its breaker."""
    open_s: float = 30.0
    """How long the breaker stays open before one probe."""
    calls_max: int = 32
    """Calls at once."""
    wait_s_max: float = 1.0
    """How long a call waits for a place."""


DEFAULT_LIMITS = DependencyLimits()


@dataclass(frozen=True, slots=True)
class _Guard:
    breaker: Breaker
    bulkhead: Bulkhead


@dataclass(slots=True)
class Dependencies:
    """Breakers and bulkheads by name, made when first called."""

    clock: Clock
    limits: Mapping[str, DependencyLimits] = field(default_factory=dict)
    telemetry: metrics.Telemetry = metrics.NULL
    _guards: dict[str, _Guard] = field(default_factory=dict)

    def breaker(self, dependency: str) -> Breaker:
        """The breaker of a dependency."""
        return self._guard(dependency).breaker

    @asynccontextmanager
    async def call(
        self, dependency: str, overdue: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[None]:
        """Guard the calls made inside.

        Raises `DependencyOpenError` at once when the breaker is open, or when no place came free.
        `overdue` tells a run that was out of time (the dependency hung: a failure) from one that
        was cancelled for another reason (nothing is known).
        """
        guard = self._guard(dependency)
        guard.breaker.check()
        await guard.bulkhead.enter()
        try:
            admission = guard.breaker.admit()
            try:
                yield
            except asyncio.CancelledError:
                if overdue():
                    guard.breaker.failed(admission, TimeoutError("out of time"))
                else:
                    guard.breaker.cancelled(admission)
                raise
            except (DependencyOpenError, HaltedError):
                guard.breaker.cancelled(admission)
                raise
            except Exception as error:
                guard.breaker.failed(admission, error)
                raise
            except BaseException:
                guard.breaker.cancelled(admission)
                raise
            guard.breaker.succeeded(admission)
        finally:
            guard.bulkhead.leave()

    def _guard(self, dependency: str) -> _Guard:
        guard = self._guards.get(dependency)
        if guard is None:
            limits = self.limits.get(dependency, DEFAULT_LIMITS)
            guard = self._guards[dependency] = _Guard(
                Breaker(
                    dependency,
                    self.clock,
                    failures_max=limits.failures_max,
                    open_s=limits.open_s,
                    telemetry=self.telemetry,
                ),
                Bulkhead(dependency, calls_max=limits.calls_max, wait_s_max=limits.wait_s_max),
            )
        return guard
