"""A circuit breaker for awaited calls: pybreaker's state machine, admission and clock of our own.

What pybreaker lacks for asyncio, and this adapter adds: one probe at half-open (pybreaker lets a
herd through), a clock that may be virtual, cancellation that counts neither as failure nor as
success, and late answers of calls that were let through before the state changed count nothing.
Calls report when they end, so that no lock is held while they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, cast

from pybreaker import CircuitBreaker

from events import metrics
from events.errors import DependencyOpenError, PermanentError

Clock = Callable[[], float]
State = Literal["closed", "half-open", "open"]

NEVER_S = 1e9
"""pybreaker's own clock is never to half-open a breaker."""
PROBE_WAIT_S = 1.0
"""How long work waits while somebody else's probe is out."""
ASKED_S_MAX = 300.0
"""How much of a dependency's `Retry-After` is believed."""
GAUGE: Final[dict[str, int]] = {"closed": 0, "half-open": 1, "open": 2}

_ANSWERED = (PermanentError,)
"""The dependency is there and said no."""


@dataclass(slots=True)
class Admission:
    """A call that was let through in this epoch of the breaker's state."""

    epoch: int


class Breaker:
    """Opens after `failures_max` failures in a row; after `open_s` one probe decides."""

    def __init__(
        self,
        dependency: str,
        clock: Clock,
        *,
        failures_max: int = 5,
        open_s: float = 30.0,
        telemetry: metrics.Telemetry = metrics.NULL,
    ) -> None:
        self.dependency = dependency
        self.open_s = open_s
        self._clock = clock
        self._telemetry = telemetry
        self._machine = CircuitBreaker(
            fail_max=failures_max,
            reset_timeout=NEVER_S,
            exclude=_ANSWERED,
            name=dependency,
            throw_new_error_on_trip=False,
        )
        self._epoch = 0
        self._opened_at = 0.0
        self._tell()

    @property
    def state(self) -> State:
        """`closed`, `half-open` while a probe is out, or `open`."""
        return cast("State", self._machine.current_state)

    def check(self) -> None:
        """Raises `DependencyOpenError` when no call is let through now; takes nothing."""
        wait_s = self.wait_s
        if wait_s > 0:
            raise DependencyOpenError(
                f"the breaker of {self.dependency!r} is {self.state}", retry_after_s=wait_s
            )

    def admit(self) -> Admission:
        """Let a call through, as the probe when the breaker was open long enough.

        Raises `DependencyOpenError`. The caller ends with exactly one of `succeeded`, `failed`
        or `cancelled`.
        """
        self.check()
        if self.state == "open":
            self._machine.half_open()
            self._changed()
        return Admission(self._epoch)

    def succeeded(self, admission: Admission) -> None:
        """The call returned."""
        if admission.epoch == self._epoch:
            self._report(None)

    def failed(self, admission: Admission, error: Exception) -> None:
        """The call raised. A `PermanentError` is an answer: the dependency is well."""
        if admission.epoch == self._epoch:
            self._report(error)

    def cancelled(self, admission: Admission) -> None:
        """The call was given up: nothing is known. A lost probe lets the next one through."""
        if admission.epoch == self._epoch and self.state == "half-open":
            self._machine.open()
            self._opened_at = self._clock() - self.open_s
            self._epoch += 1
            self._tell()

    def reset(self) -> None:
        """Close it: the fleet knows that the dependency is well."""
        if self.state != "closed":
            self._machine.close()
            self._changed()

    @property
    def wait_s(self) -> float:
        """How long no call is let through, in seconds; 0 or less: one is."""
        match self.state:
            case "closed":
                return 0.0
            case "half-open":
                return PROBE_WAIT_S
            case "open":
                return self._opened_at + self.open_s - self._clock()

    def _report(self, error: Exception | None) -> None:
        before = self.state
        try:
            self._machine.call(_raise, error)
        except Exception as raised:
            if raised is not error:
                raise
        if self.state != before:
            asked_s = getattr(error, "retry_after_s", None)
            self._changed(min(asked_s or 0.0, ASKED_S_MAX))

    def _changed(self, asked_s: float = 0.0) -> None:
        self._epoch += 1
        if self.state == "open":
            self._opened_at = self._clock() + max(asked_s - self.open_s, 0.0)
        self._tell()

    def _tell(self) -> None:
        self._telemetry.set(
            "caseworks_breaker_state", GAUGE[self.state], dependency=self.dependency
        )


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
