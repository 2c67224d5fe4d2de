"""A dependency is away for a minute: it is asked once in an interval, and nothing is burnt.

Four worker processes share one agent that asks it. The dependency itself counts the calls.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from typing import Any

from tests.chaos.accountant import Accountant
from tests.chaos.audit import audit, committed, header_of
from tests.chaos.dependency import Dependency
from tests.chaos.load import Pace
from tests.chaos.trial import Ask, Figure, Showing
from tests.chaos.workload import Workload
from tests.chaos.world import NAMESPACE, PARTITIONS, Setup, World, world

RATE_PER_S = 200.0
DOWN_S = 60.0
WORKERS = 4
RESET_S = 10.0
"""The default of `CASEWORKS_BREAKER_RESET_S`."""
NORMAL_S = 15.0
"""All is well for so long before; the rate is that of the last ten seconds."""
WATCHED_S = 10.0
NOTICED_S = 2.0
"""So soon after its death nobody may call a dependency any more, but for a probe."""
CALL_S = 0.02
BACK_S = 60.0
"""A probe comes within so long after the end: intervals double while probes fail."""
CLEARED_S = 180.0
TIMES_MOST = 2.0


def workload() -> Workload:
    """One step for each event."""

    def event(number: int, event_id: str) -> tuple[str, bytes]:
        return "look.wanted", json.dumps({"id": event_id}).encode()

    def right(event_id: str, body: Mapping[str, Any]) -> bool:
        good: bool = body["status"] == "completed" and body["output"] == event_id
        return good

    return Workload("tests.chaos.outage_app:app", ("looking",), ("look",), event, right=right)


def outage(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`, `HiddenEndError`."""
    rate, down_s = ask.rate or RATE_PER_S, ask.seconds or DOWN_S
    with Dependency(CALL_S) as dependency:
        env = {"CHAOS_DEPENDENCY": dependency.address, "CASEWORKS_TASKS_PARTITIONS": "8"}
        setup = Setup(coordinators=1, workers=1, copies=WORKERS, env=env)
        with world(setup, workload(), Pace(rate, 100_000), ask.seed, ask.keep) as running:
            running.deadline = time.monotonic() + NORMAL_S + down_s + BACK_S + CLEARED_S
            showing.figures += _play(running, dependency, down_s, ask)
            running.crew.close()
            running.load.stop()
            showing.complaints += running.crew.deaths.crashes
            load, bootstrap = running.load, running.cluster.bootstrap
            accountant = Accountant(load.seen.published, {}, running.cast.workload.right)
            audit(bootstrap, NAMESPACE, accountant)
            said = _said(bootstrap)
    showing.verdict = accountant.verdict()
    burnt = sum(n for status, n in said.items() if status not in ("done", "deferred"))
    showing.detail |= {"outcomes": dict(said)}
    showing.figures += [
        Figure("attempts burnt", burnt, "", None, 0),
        Figure("deferred", said["deferred"]),
        Figure("dead letters", showing.verdict.dead_letters, "", None, 0),
    ]


def _play(running: World, dependency: Dependency, down_s: float, ask: Ask) -> list[Figure]:
    load = running.load
    load.endless = True
    running.wait(NORMAL_S)
    down = time.monotonic()
    dependency.down = True
    ask.told(f"down, {len(dependency.calls)} calls so far")
    running.wait(down_s)
    dependency.down = False
    up = time.monotonic()
    waiting = load.seen.in_flight
    ask.told(f"up, {waiting} cases wait, {len(dependency.between(down, up))} calls meanwhile")
    running.wait_until(lambda: bool(dependency.between(up, up + BACK_S)), BACK_S)
    back = dependency.between(up, up + BACK_S)[0]
    cleared = running.wait_answered(CLEARED_S)
    running.wait(max(0.0, back + WATCHED_S - time.monotonic()))
    load.endless = False
    if running.wait_answered(CLEARED_S) is None:
        ask.told(f"{load.seen.in_flight} cases unanswered")
    normal = len(dependency.between(down - WATCHED_S, down)) / WATCHED_S
    first = len(dependency.between(back, back + WATCHED_S)) / WATCHED_S
    probes = dependency.between(down + NOTICED_S, up)
    gaps = [b - a for a, b in pairwise(probes)]
    return [
        Figure("normal rate", normal, "calls/s"),
        Figure(f"calls in the first {NOTICED_S:g} s of it", _count(dependency, down, NOTICED_S)),
        Figure("probes after that", len(probes), "", None, ceil((down_s - NOTICED_S) / RESET_S)),
        Figure("shortest time between probes", min(gaps, default=down_s), "s", RESET_S - 0.5),
        Figure("waiting when it was over", waiting, "cases"),
        Figure("first call after", back - up, "s"),
        Figure("rate of the first 10 s, times the normal", first / normal, "", None, TIMES_MOST),
        Figure("busiest 10 s later, times the normal", _busiest(dependency, back) / normal, ""),
        Figure("backlog cleared after", cleared or CLEARED_S, "s", None, CLEARED_S),
    ]


def _count(dependency: Dependency, begin: float, seconds: float) -> int:
    return len(dependency.between(begin, begin + seconds))


def _busiest(dependency: Dependency, begin: float) -> float:
    """Calls a second in the ten seconds with most of them."""
    now, found, at = time.monotonic(), 0, begin
    while at + WATCHED_S <= now:
        found = max(found, _count(dependency, at, WATCHED_S))
        at += 1.0
    return found / WATCHED_S


def _said(bootstrap: str) -> Counter[str]:
    """The outcomes that workers told, by status."""
    found: Counter[str] = Counter()
    for message in committed(bootstrap, f"{NAMESPACE}.inbox", PARTITIONS["INBOX"]):
        if header_of(message, "ce_type") == "caseworks.outcome":
            found[json.loads(message.value() or b"")["status"]] += 1
    return found
