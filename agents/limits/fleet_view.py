"""What the controller decided for the fleet, as one worker process sees it, and what it asks for.

Theory of operation
-------------------
A worker's own breaker opens at once and reports; the controller decides for all (`control`). While
it says open, nothing is called and no task is taken. After `until` the first call that comes asks
for the probe and waits a moment for the lease; who has it calls once and reports. Every request is
asked again for a while, and then the process stands alone: its own breaker decides, as if there
were no fleet, until the next decision about that dependency comes. A lease counts only in the life
that asked for it.

`learn` is called on the thread of `fleet_loop`, the rest on the agents' event loop, `standing` and
`paused` on any: each writes fields of its own, whole values at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from pydantic import ValidationError

from agents.limits.fleet import Standing
from events import metrics
from events.broker import Message, Producer
from events.envelope import record_of
from events.errors import DependencyOpenError, PermanentError, RetriableError
from events.logs import get_logger
from events.topics import Topics
from schemas.control import (
    CONTROL_VERSION,
    DECISIONS,
    Breaker,
    BreakerReport,
    Pause,
    PauseOrder,
    ProbeWanted,
    Request,
)

Clock = Callable[[], float]
GAUGE = {"closed": 0, "half_open": 1, "open": 2}
ERROR_CHARS = 200

_log = get_logger("caseworks.fleet")


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """How long a worker waits for the controller."""

    ask_again_s: float = 2.0
    answer_s: float = 10.0
    """Unanswered for so long, the process's own breaker decides."""
    lease_wait_s: float = 2.0
    """How long the call that asked for the probe waits for it before its task is deferred."""
    lease_poll_s: float = 0.1
    first_look_s: float = 2.0
    """How long a new process holds its tasks back for its first look at the decisions."""
    defer_s_max: float = 15.0
    """When a deferred task comes back at the latest: it may as well wait in Kafka."""
    dependencies_max: int = 1_000
    """Decisions that are remembered."""


@dataclass(slots=True)
class _Known:
    """One dependency's breaker, and what this process asked about it."""

    breaker: Breaker
    learnt_s: float = inf
    """When this process learnt of it, on its own clock."""
    asked_s: float | None = None
    """When it was first asked about this epoch and has not been answered."""
    asked_last_s: float = 0.0
    knocked: int = -1
    """The epoch whose probe this process asked for."""
    used: bool = False
    """The lease's call was made, or is being made."""
    alone: bool = False
    """Nobody answers: the process's own breaker decides."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The one call that goes through; ends with exactly one of its methods."""

    fleet: FleetView
    dependency: str
    epoch: int

    def succeeded(self) -> None:
        """The dependency is well."""
        self.fleet.answered(self, "well")

    def failed(self, error: BaseException) -> None:
        """It failed; a `PermanentError` is an answer: it is well."""
        if isinstance(error, PermanentError):
            self.succeeded()
        else:
            self.fleet.answered(self, "failing", error)

    def cancelled(self) -> None:
        """Nothing is known: another call may use the lease."""
        self.fleet.give_back(self)


@dataclass
class FleetView:
    """The decisions of `control`, and the requests of this process.

    Args:
        worker: Unique among the fleet's processes that live: leases are given to it.
        topics: Where requests go.
        producer: Sends them; thread-safe.
        clock: Seconds since the epoch; leases and `until` are compared with it.
    """

    worker: str
    topics: Topics
    producer: Producer
    clock: Clock
    telemetry: metrics.Telemetry = metrics.NULL
    limits: FleetLimits = field(default_factory=FleetLimits)
    _known: dict[str, _Known] = field(default_factory=dict)
    _pauses: dict[str, Pause] = field(default_factory=dict)
    _read: bool = False
    _sent: int = 0
    _started_s: float = -1.0

    def __post_init__(self) -> None:
        self._started_s = self.clock()

    # --- decisions

    @property
    def ready(self) -> bool:
        return self._read or self.clock() - self._started_s >= self.limits.first_look_s

    @property
    def looked_through(self) -> bool:
        """Whether the decisions were read to their end."""
        return self._read

    def looked(self) -> None:
        """The decisions were read to their end."""
        self._read = True

    def learn(self, messages: Iterable[Message]) -> None:
        """Take decisions over; what cannot be read is counted, and the own breaker decides."""
        for message in messages:
            model = DECISIONS.get(message.header("ce_type") or "")
            if model is None or message.value is None:
                continue  # the counts of open cases stand here too
            try:
                decision = model.from_json(message.value)
            except ValidationError:
                self._unread(message, "schema")
                continue
            if decision.v > CONTROL_VERSION:
                self._unread(message, "version")
            elif isinstance(decision, Breaker):
                self._learn_breaker(decision)
            else:
                self._learn_pause(decision)

    def _unread(self, message: Message, reason: str) -> None:
        self.telemetry.count("caseworks_control_unread_total", reason=reason)
        key = (message.key or b"").decode("utf-8", "replace")
        self._known.pop(key.removeprefix("breaker:"), None)
        _log.error("decision_unread", key=key, offset=message.offset, reason=reason)

    def _learn_breaker(self, decided: Breaker) -> None:
        name = decided.dependency
        known = self._known.get(name)
        if known is None and len(self._known) >= self.limits.dependencies_max:
            self.telemetry.count("caseworks_control_unread_total", reason="too_many")
            return
        anew = _Known(decided, self.clock())
        if known is not None and known.breaker.epoch == decided.epoch:
            anew.knocked, anew.used = known.knocked, known.used
        self._known[name] = anew
        self.telemetry.set("caseworks_fleet_breaker_state", GAUGE[decided.state], dependency=name)
        _log.info(
            "breaker_decided",
            dependency=name,
            state=decided.state,
            epoch=decided.epoch,
            held=decided.held,
            reason=decided.reason,
        )

    def _learn_pause(self, decided: Pause) -> None:
        if len(self._pauses) >= self.limits.dependencies_max and decided.agent not in self._pauses:
            self.telemetry.count("caseworks_control_unread_total", reason="too_many")
            return
        self._pauses[decided.agent] = decided
        self.telemetry.set("caseworks_agent_paused", decided.paused, agent=decided.agent)
        _log.info(
            "agent_paused" if decided.paused else "agent_resumed",
            agent=decided.agent,
            version=decided.agent_version,
            reason=decided.reason,
            by=decided.by,
        )

    # --- asked from any thread

    def paused(self, agent: str, version: str) -> bool:
        decided = self._pauses.get(agent)
        return decided is not None and decided.paused and decided.agent_version in ("", version)

    def standing(self, dependency: str) -> Standing | None:
        known = self._known.get(dependency)
        now = self.clock()
        if known is None or self._stands_alone(dependency, known, now):
            return None
        breaker = known.breaker
        match breaker.state:
            case "closed":
                ramp = breaker.ramp_until
                return "slow" if ramp is not None and now < ramp.timestamp() else None
            case "open":
                return "single" if _due(known, now) and known.asked_s is None else "shut"
            case "half_open":
                return "single" if self._lent(known) else "shut"

    def closed_epoch(self, dependency: str) -> int:
        known = self._known.get(dependency)
        closed = known is not None and known.breaker.state == "closed"
        return known.breaker.epoch if known is not None and closed else 0

    def wait_s(self, dependency: str) -> float:
        known = self._known.get(dependency)
        if known is None or known.alone or known.breaker.state == "closed":
            return 0.0
        breaker = known.breaker
        until = breaker.probe.until if breaker.probe is not None else breaker.until
        if until is None:
            return self.limits.defer_s_max
        wait_s = max(until.timestamp() - self.clock(), self.limits.lease_wait_s)
        return min(wait_s, self.limits.defer_s_max)

    # --- on the event loop

    async def enter(self, dependency: str) -> Lease | None:
        """A lease for the probe, waited for a moment; `None`: the own breaker decides.

        Raises `DependencyOpenError`.
        """
        known = self._known.get(dependency)
        if known is None or known.breaker.state == "closed":
            return None
        until_s = self.clock() + self.limits.lease_wait_s
        while True:
            now = self.clock()
            known = self._known.get(dependency)
            if known is None or known.breaker.state == "closed":
                return None
            breaker = known.breaker
            if self._stands_alone(dependency, known, now):
                if _due(known, now):
                    self._knock(dependency, known, now)  # a controller that is back answers
                return None
            if breaker.state == "half_open" and self._lent(known):
                known.used = True
                return Lease(self, dependency, breaker.epoch)
            if not (breaker.state == "open" and _due(known, now)) or now >= until_s:
                raise DependencyOpenError(
                    f"the fleet's breaker of {dependency!r} is {breaker.state}",
                    retry_after_s=self.wait_s(dependency),
                )
            self._knock(dependency, known, now)
            await asyncio.sleep(self.limits.lease_poll_s)

    def failing(self, dependency: str, error: BaseException) -> None:
        known = self._known.get(dependency)
        if known is None:
            known = self._known[dependency] = _Known(Breaker(dependency=dependency))
        if known.breaker.state == "closed" and not known.breaker.held:
            self._report(known, "failing", error)

    def answered(
        self, lease: Lease, verdict: Literal["failing", "well"], error: BaseException | None = None
    ) -> None:
        """Say what the probe saw; of a lease that is over nobody needs to know."""
        known = self._known.get(lease.dependency)
        if known is not None and known.breaker.epoch == lease.epoch:
            self._report(known, verdict, error)

    def give_back(self, lease: Lease) -> None:
        """A lease was not used."""
        known = self._known.get(lease.dependency)
        if known is not None and known.breaker.epoch == lease.epoch:
            known.used = False

    def pause(self, agent: str, version: str, why: str) -> None:
        _log.error("agent_should_pause", agent=agent, version=version, why=why)
        order = PauseOrder(agent=agent, paused=True, agent_version=version, by=self.worker, why=why)
        self._send(order, f"pause:{agent}")

    # --- inside

    def _lent(self, known: _Known) -> bool:
        """Whether this life asked for the lease, has it, and it is not used."""
        lease, epoch = known.breaker.probe, known.breaker.epoch
        ours = lease is not None and lease.worker == self.worker and known.knocked == epoch
        return ours and not known.used

    def _knock(self, dependency: str, known: _Known, now: float) -> None:
        if known.asked_s is None:
            known.asked_s = now
        elif now - known.asked_last_s < self.limits.ask_again_s:
            return
        known.asked_last_s, known.knocked = now, known.breaker.epoch
        wish = ProbeWanted(dependency=dependency, epoch=known.breaker.epoch, worker=self.worker)
        self._send(wish, f"breaker:{dependency}")

    def _stands_alone(self, dependency: str, known: _Known, now: float) -> bool:
        """Whether an answer is overdue: of a request, or the end of somebody's lease."""
        lease = known.breaker.probe
        since = [known.asked_s] if known.asked_s is not None else []
        if known.breaker.state == "half_open" and lease is not None:
            since = [lease.until.timestamp()]
        if not known.alone and any(now - each > self.limits.answer_s for each in since):
            known.alone = True
            self.telemetry.count("caseworks_fleet_fallbacks_total", dependency=dependency)
            _log.warning(
                "controller_silent",
                dependency=dependency,
                waited_s=self.limits.answer_s,
                hint="this process's own breaker decides; does a coordinator run?",
            )
        return known.alone

    def _report(
        self, known: _Known, verdict: Literal["failing", "well"], error: BaseException | None
    ) -> None:
        dependency = known.breaker.dependency
        if known.asked_s is None:
            known.asked_s = self.clock()
        report = BreakerReport(
            dependency=dependency,
            verdict=verdict,
            epoch=known.breaker.epoch,
            worker=self.worker,
            retry_after_s=getattr(error, "retry_after_s", None),
            reason="" if error is None else f"{type(error).__name__}: {error}"[:ERROR_CHARS],
        )
        self._send(report, f"breaker:{dependency}")

    def _send(self, request: Request, key: str) -> None:
        self._sent += 1
        now = self.clock()
        record = record_of(
            request,
            request.ce_type,
            topic=self.topics.requests,
            key=key,
            ce_id=f"{self.worker}:{int(now * 1e6)}:{self._sent}",
            source=f"caseworks/{self.topics.namespace}/{self.worker}",
            now=now,
            partition=0,
        )
        kind = request.ce_type.rpartition(".")[2]
        self.telemetry.count("caseworks_fleet_requests_total", kind=kind)
        try:
            self.producer.produce(record)
        except RetriableError as error:
            _log.warning("request_not_sent", kind=kind, key=key, error=str(error))


def _due(known: _Known, now: float) -> bool:
    """Whether the probe of an open breaker may be asked for.

    Here it was never open for longer than `reset_s`: a decider whose clock was ahead holds nobody.
    """
    breaker = known.breaker
    if breaker.held or breaker.until is None:
        return False
    return now >= breaker.until.timestamp() or now - known.learnt_s > max(breaker.reset_s, 1.0)
