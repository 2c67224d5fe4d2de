"""The breakers of the whole fleet: pure decisions about one breaker at a time.

Theory of operation
-------------------
Every worker guards its calls by a breaker of its own, which opens at once. It then reports, and
the controller decides for all: the breaker is `open`, work for that dependency waits in Kafka and
burns no attempt. After `reset_s` a worker may ask for the probe; the first that asks gets a lease
and is the only one in the fleet that calls (`half_open`). Its answer closes the breaker, or opens
it again for twice as long. A lease that runs out is as if nobody had asked. When it closes, the
backlog is taken up slowly until `ramp_until`.

Each transition has a new epoch; a report that saw an earlier one decides nothing. What a person
ordered to be held is not moved by reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never

from schemas.base import instant
from schemas.control import (
    Breaker,
    BreakerOrder,
    BreakerReport,
    BreakerState,
    Probe,
    ProbeWanted,
)

Event = Literal["trip", "lease", "lapse", "close"]

BREAKER: Mapping[BreakerState, Mapping[Event, BreakerState]] = {
    "closed": {"trip": "open"},
    "open": {"trip": "open", "lease": "half_open", "close": "closed"},
    "half_open": {"trip": "open", "lapse": "open", "close": "closed"},
}


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """The bounds of every breaker."""

    reset_s: float = 10.0
    """How long it stays open before the first probe."""
    reset_s_max: float = 300.0
    lease_s: float = 30.0
    """How long a probe may take."""
    ramp_s: float = 10.0
    """How long the backlog is taken up slowly after it closed."""


def reported(
    breaker: Breaker, report: BreakerReport, now: float, limits: BreakerLimits
) -> Breaker | None:
    """What a worker's report changes, if it does."""
    if breaker.held or report.epoch != breaker.epoch:
        return None
    holds_lease = breaker.probe is not None and breaker.probe.worker == report.worker
    match breaker.state, report.verdict:
        case ("closed", "failing"):
            wait_s = max(limits.reset_s, report.retry_after_s or 0.0)
            return _trip(breaker, now, min(wait_s, limits.reset_s_max), report)
        case ("half_open", "failing") if holds_lease:
            wait_s = max(2 * breaker.reset_s, report.retry_after_s or 0.0)
            return _trip(breaker, now, min(wait_s, limits.reset_s_max), report)
        case ("half_open", "well") if holds_lease:
            return _close(breaker, now, limits, reason="the probe succeeded", by=report.worker)
        case _:
            return None


def probe_wanted(
    breaker: Breaker, wish: ProbeWanted, now: float, limits: BreakerLimits
) -> Breaker | None:
    """The first that asks in time gets the lease."""
    early = breaker.until is not None and _lies_ahead(breaker.until, breaker, now)
    if breaker.held or breaker.state != "open" or wish.epoch != breaker.epoch or early:
        return None
    lease = Probe(worker=wish.worker, until=instant(now + limits.lease_s))
    return _moved(breaker, "lease", now, probe=lease, epoch=breaker.epoch)


def lapsed(breaker: Breaker, now: float) -> Breaker | None:
    """A lease that ran out: whoever asks next may probe."""
    lease = breaker.probe
    if breaker.state != "half_open" or lease is None or _lies_ahead(lease.until, breaker, now):
        return None
    return _moved(
        breaker, "lapse", now, until=instant(now), probe=None, reason="the probe gave no answer"
    )


def ordered(
    breaker: Breaker, order: BreakerOrder, now: float, limits: BreakerLimits
) -> Breaker | None:
    """What a person wants. Opening holds it open; closing ends a hold."""
    said = {"by": order.by, "reason": order.why}
    match order.order:
        case "open":
            return _moved(breaker, "trip", now, until=None, probe=None, held=True, **said)
        case "close" if breaker.state == "closed":
            return breaker.evolve(held=False, at=instant(now), **said) if breaker.held else None
        case "close":
            return _close(breaker, now, limits, reason=order.why, by=order.by)
        case "hold":
            return None if breaker.held else breaker.evolve(held=True, at=instant(now), **said)
        case "release":
            until = breaker.until or instant(now)
            freed = breaker.evolve(held=False, until=until, at=instant(now), **said)
            return freed if breaker.held else None
        case _:
            assert_never(order.order)


def _lies_ahead(until: datetime, breaker: Breaker, now: float) -> bool:
    """Whether it is still to come. Decided in the future, it was by a clock that was ahead."""
    decided_s = 0.0 if breaker.at is None else breaker.at.timestamp()
    return decided_s <= now < until.timestamp()


def _trip(breaker: Breaker, now: float, reset_s: float, report: BreakerReport) -> Breaker:
    return _moved(
        breaker,
        "trip",
        now,
        until=instant(now + reset_s),
        reset_s=reset_s,
        probe=None,
        reason=report.reason,
        by=report.worker,
    )


def _close(breaker: Breaker, now: float, limits: BreakerLimits, *, reason: str, by: str) -> Breaker:
    return _moved(
        breaker,
        "close",
        now,
        until=None,
        reset_s=0.0,
        probe=None,
        ramp_until=instant(now + limits.ramp_s),
        held=False,
        reason=reason,
        by=by,
    )


def _moved(breaker: Breaker, event: Event, now: float, **fields: Any) -> Breaker:
    state = BREAKER[breaker.state][event]
    told = {"epoch": breaker.epoch + 1, "at": instant(now), **fields}
    return breaker.evolve(state=state, **told)
