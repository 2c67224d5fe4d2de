"""Every outside thing that agents call, each behind its breaker and its bulkhead.

One set per process, shared by all its agents, used on their event loop: what one agent learns of
a dependency spares the others. What the fleet decided stands above the process's own breaker,
which decides while the fleet's is closed or nobody answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agents.limits.breaker import Admission, Breaker, Clock
from agents.limits.bulkhead import Bulkhead
from agents.limits.fleet import NO_FLEET, Fleet, Passage, Standing
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


WAIT_S = 1.0
"""When work comes back to an own breaker that lets nothing through, at the earliest."""


def _nobody(dependency: str, error: BaseException) -> None:
    """Hears of failures, and keeps nothing."""


@dataclass(slots=True)
class _Guard:
    breaker: Breaker
    bulkhead: Bulkhead
    closed_epoch: int = 0
    """The last transition of the fleet's breaker that closed this process's own."""


@dataclass(slots=True)
class _Own:
    """A call that the process's own breaker let through."""

    breaker: Breaker
    admission: Admission
    fleet: Fleet

    def succeeded(self) -> None:
        self.breaker.succeeded(self.admission)

    def failed(self, error: Exception) -> None:
        """The fleet is told when this opens the breaker."""
        was_open = self.breaker.state == "open"
        self.breaker.failed(self.admission, error)
        if self.breaker.state == "open" and not was_open:
            self.fleet.failing(self.breaker.dependency, error)

    def cancelled(self) -> None:
        self.breaker.cancelled(self.admission)


@dataclass(slots=True)
class Dependencies:
    """Breakers and bulkheads by name, made when first called."""

    clock: Clock
    limits: Mapping[str, DependencyLimits] = field(default_factory=dict)
    telemetry: metrics.Telemetry = metrics.NULL
    fleet: Fleet = NO_FLEET
    _guards: dict[str, _Guard] = field(default_factory=dict)

    def breaker(self, dependency: str) -> Breaker:
        """The process's own breaker of a dependency."""
        return self._guard(dependency).breaker

    def standing(self, dependency: str) -> Standing:
        """How work for a dependency may go on. Thread-safe."""
        decided = self.fleet.standing(dependency)
        if decided in ("single", "shut"):
            return decided
        guard = self._guards.get(dependency)
        if guard is None or guard.closed_epoch < self.fleet.closed_epoch(dependency):
            return decided or "free"
        wait_s = guard.breaker.wait_s
        if wait_s > 0:
            return "shut"
        return "single" if guard.breaker.state == "open" else decided or "free"

    def wait_s(self, dependency: str) -> float:
        """When work for it should come back, in seconds; 0 when its breakers are closed."""
        wait_s = self.fleet.wait_s(dependency)
        guard = self._guards.get(dependency)
        if wait_s > 0 or guard is None or guard.breaker.state == "closed":
            return wait_s
        return max(guard.breaker.wait_s, WAIT_S)

    @asynccontextmanager
    async def call(
        self,
        dependency: str,
        overdue: Callable[[], bool] = lambda: False,
        blame: Callable[[str, BaseException], None] = _nobody,
    ) -> AsyncIterator[None]:
        """Guard the calls made inside.

        Raises `DependencyOpenError` when a breaker is open, the fleet's or the process's own, or
        when no place came free. `overdue` tells a run that was out of time (the dependency hung: a
        failure) from one that was cancelled for another reason (nothing is known). `blame` hears
        of failures.
        """
        guard = self._guard(dependency)
        passage = await self._enter(guard, dependency)
        try:
            try:
                yield
            except asyncio.CancelledError:
                if overdue():
                    late = TimeoutError("out of time")
                    passage.failed(late)
                    blame(dependency, late)
                else:
                    passage.cancelled()
                raise
            except (DependencyOpenError, HaltedError):
                passage.cancelled()
                raise
            except Exception as error:
                passage.failed(error)
                blame(dependency, error)
                raise
            except BaseException:
                passage.cancelled()
                raise
            passage.succeeded()
        finally:
            guard.bulkhead.leave()

    async def _enter(self, guard: _Guard, dependency: str) -> Passage:
        """A place in the bulkhead and the leave to call. Raises `DependencyOpenError`."""
        lease = await self._ask(guard, dependency)
        try:
            await guard.bulkhead.enter()
        except BaseException:
            if lease is not None:
                lease.cancelled()
            raise
        if lease is not None:
            return lease
        try:
            if self.fleet.wait_s(dependency) > 0:
                raise DependencyOpenError(
                    f"the fleet's breaker of {dependency!r} opened",
                    retry_after_s=self.fleet.wait_s(dependency),
                )
            return _Own(guard.breaker, guard.breaker.admit(), self.fleet)
        except BaseException:
            guard.bulkhead.leave()
            raise

    async def _ask(self, guard: _Guard, dependency: str) -> Passage | None:
        lease = await self.fleet.enter(dependency)
        if lease is None:
            closed = self.fleet.closed_epoch(dependency)
            if closed > guard.closed_epoch:
                guard.closed_epoch = closed
                guard.breaker.reset()
            guard.breaker.check()
        return lease

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
