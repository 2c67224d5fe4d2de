"""Bulkheads: whatever one agent does, the others keep their throughput and their latency.

Four agents, each in a process of its own. Events come at half of what the machine takes; one in
ten is for `a`, which hangs, raises, leaks and dies in turn. `--without bulkhead` is the control
arm: all four in one process, where an agent that blocks the event loop stops everybody.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.chaos.accountant import Accountant
from tests.chaos.audit import audit, committed, header_of, partitions_of
from tests.chaos.load import Pace
from tests.chaos.trial import Ask, Figure, Showing, median_of, percentile
from tests.chaos.workload import Workload
from tests.chaos.world import NAMESPACE, Setup, World, world


class Kind(NamedTuple):
    """What `a` does: as a rule, now and then, and with the first event."""

    rule: str
    often: str = ""
    every_s: float = 0.0
    first: str = ""


SLOTS = "bcdbcdbcda"
"""Whose the events are, in turn."""
KINDS: Mapping[str, Kind] = {
    "quiet": Kind("work"),
    "hang": Kind("hang", first="block"),
    "raise": Kind("raise"),
    "leak": Kind("work", "leak", 0.04),
    "die": Kind("work", "die", 4.0, "poison"),
}
ROUNDS = 5
WINDOW_S = 8.0
LEAD_S = 1.0
"""Harm is under way for so long before it is measured."""
CAPACITY_IN_FLIGHT = 200
CAPACITY_S = 8.0
WARM_UP_S = 6.0
SHARE = 0.5
DEAD = f"{NAMESPACE}.tasks.a.dlq"
ENDS_S = 12.0
"""How long the cases of `a` may take to end after a measurement; its restarts wait ever longer."""
LAST_ENDS_S = 240.0
LIMIT_S = 900.0
THROUGHPUT_LEAST = 0.9
P99_TIMES_MOST = 2.0
SETTINGS = {
    "CASEWORKS_PAUSE_AFTER_FAILURES": "0",  # paused, it would do no harm
    "CASEWORKS_STARTS_MAX": "3",  # as users have it: nobody is killed from outside here
    "CASEWORKS_TASKS_PARTITIONS": "4",
    "CASEWORKS_STUCK_AFTER_S": "1",
    "CASEWORKS_STUCK_MAX_S": "3",
}
HARM = (("hang", "timeout"), ("raise", "exception"), ("leak", "memory"), ("poison", "crash_loop"))
"""What its tasks die of: without these, the harm was none."""
MEMORY_MAX_MB = "1000"
"""Of the process of `a`, beyond what it takes at its start; stacks of threads count."""


@dataclass(slots=True)
class Mood:
    """What `a` does now, and what it was told to do, by event."""

    kind: str = "quiet"
    often_at: float = 0.0
    is_first: bool = False
    told: dict[str, str] = field(default_factory=dict)

    def begin(self, kind: str) -> None:
        self.kind, self.often_at, self.is_first = kind, 0.0, True

    def do(self, event_id: str) -> str:
        """What the next event of `a` asks for; the same again when it is published again."""
        if event_id not in self.told:
            self.told[event_id] = self._next(KINDS[self.kind], time.monotonic())
        return self.told[event_id]

    def _next(self, kind: Kind, now: float) -> str:
        if self.is_first and kind.first:
            self.is_first = False
            return kind.first
        if kind.every_s and now >= self.often_at:
            self.often_at = now + kind.every_s
            return kind.often
        return kind.rule


@dataclass(slots=True)
class Measured:
    """One measurement of b, c and d."""

    per_s: float
    p99_ms: float
    ended_s: float = 0.0
    """How long the cases of `a` took to end afterwards."""


def workload(mood: Mood) -> Workload:
    """Events of all four; a result is right when its agent worked, and for `a` whatever it is."""

    def event(number: int, event_id: str) -> tuple[str, bytes]:
        name = SLOTS[number % len(SLOTS)]
        do = mood.do(event_id) if name == "a" else "work"
        return f"{name}.wanted", json.dumps({"id": event_id, "do": do}).encode()

    def right(event_id: str, body: Mapping[str, Any]) -> bool:
        good: bool = body["status"] == "completed" and body["output"] == event_id
        return good or body["workflow"] == "a"

    names = ("a", "b", "c", "d")
    return Workload("tests.chaos.bulkhead_app:app", names, names, event, right=right)


def isolation(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`, `HiddenEndError`."""
    mood, apart = Mood(), ask.without != "bulkhead"
    own = {"worker-0-0": {"CASEWORKS_WORKER_MEMORY_MAX_MB": MEMORY_MAX_MB}}
    setup = Setup(coordinators=1, workers=4 if apart else 1, env=SETTINGS, own=own)
    pace = Pace(ask.rate or 1e6, CAPACITY_IN_FLIGHT)
    with world(setup, workload(mood), pace, ask.seed, ask.keep) as running:
        running.deadline = time.monotonic() + LIMIT_S
        running.load.endless = True
        capacity = _capacity(running)
        rate = ask.rate or SHARE * capacity
        running.load.pace = Pace(rate, in_flight_max=100_000)
        running.wait(LEAD_S)
        ask.told(f"capacity {capacity:.0f} cases/s, load {rate:.0f}")
        rounds = _rounds(running, mood, ask)
        mood.begin("quiet")
        running.load.endless = False
        if running.wait_answered(LAST_ENDS_S) is None:
            ask.told(f"{running.load.seen.in_flight} cases unanswered")
        strangers = [
            each
            for each in running.crew.deaths.crashes
            if apart and not each.startswith("worker-0")
        ]
        deaths = len(running.crew.deaths.crashes)
        running.crew.close()
        running.load.stop()
        accountant = Accountant(
            running.load.seen.published,
            {},
            running.cast.workload.right,
            mortal=[DEAD],
        )
        audit(running.cluster.bootstrap, NAMESPACE, accountant)
        ends = _ends(running.cluster.bootstrap, mood)
    showing.verdict = accountant.verdict()
    showing.complaints += [f"a neighbour of a ended: {each}" for each in strangers]
    showing.detail = {"capacity": capacity, "rate": rate, "rounds": _plain(rounds)}
    showing.detail["ends of a"] = {f"{do}: {why}": n for (do, why), n in sorted(ends.items())}
    showing.figures += [Figure("capacity", capacity, "cases/s"), Figure("load", rate, "cases/s")]
    showing.figures += [Figure("deaths of a", deaths, "", 1)]
    for do, why in HARM:
        showing.figures += [Figure(f"{do}: tasks of a that ended by {why}", ends[do, why], "", 1)]
    innocent = sum(n for (do, _), n in ends.items() if do == "work")
    showing.figures += [Figure("tasks of a that did no harm and died", innocent)]
    showing.figures += figures_of(rounds)


def figures_of(rounds: Mapping[str, Sequence[Measured]]) -> list[Figure]:
    """Medians of all rounds, beside those of the quiet ones."""
    found: list[Figure] = []
    quiet = Measured(
        median_of([each.per_s for each in rounds["quiet"]]),
        median_of([each.p99_ms for each in rounds["quiet"]]),
    )
    found += [Figure("quiet: b, c, d", quiet.per_s, "cases/s")]
    found += [Figure("quiet: p99", quiet.p99_ms, "ms")]
    for kind, measured in rounds.items():
        if kind == "quiet":
            continue
        share = median_of([each.per_s for each in measured]) / max(quiet.per_s, 1e-9)
        p99_ms = median_of([each.p99_ms for each in measured])
        times = p99_ms / max(quiet.p99_ms, 1e-9)
        ends_s = max(each.ended_s for each in measured)
        found += [
            Figure(f"{kind}: share of the quiet throughput", share, "", THROUGHPUT_LEAST),
            Figure(f"{kind}: p99", p99_ms, "ms"),
            Figure(f"{kind}: p99, times the quiet one", times, "", None, P99_TIMES_MOST, True),
            Figure(f"{kind}: cases of a ended after at most", ends_s, "s"),
        ]
    return found


def _capacity(running: World) -> float:
    """Cases a second of all four, so many in flight."""
    seen = running.load.seen
    running.wait(WARM_UP_S)
    begun, before = time.monotonic(), len(seen.answered)
    running.wait(CAPACITY_S)
    return (len(seen.answered) - before) / (time.monotonic() - begun)


def _rounds(running: World, mood: Mood, ask: Ask) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    count = ask.rounds or ROUNDS
    for number in range(count):
        for kind in KINDS:
            mood.begin(kind)
            measured = _measure(running, mood, ask.seconds or WINDOW_S)
            found[kind].append(measured)
            ask.told(
                f"{number + 1}/{count} {kind:<6} {measured.per_s:7.1f} cases/s, p99 "
                f"{measured.p99_ms:7.1f} ms, a ended after {measured.ended_s:.1f} s"
            )
    return found


def _measure(running: World, mood: Mood, window_s: float) -> Measured:
    running.wait(LEAD_S)
    seen, begun = running.load.seen, time.monotonic()
    running.wait(window_s)
    ended = time.monotonic()
    mood.begin("quiet")
    took_s = running.wait_answered(ENDS_S)
    sent, answered = dict(seen.sent), dict(seen.answered)
    theirs = [name for name in sent if SLOTS[int(name[4:]) % len(SLOTS)] != "a"]
    done = sum(begun <= answered.get(name, 0.0) < ended for name in theirs)
    late = time.monotonic()
    latencies = [
        1000 * (answered.get(name, late) - sent[name])
        for name in theirs
        if begun <= sent[name] < ended
    ]
    per_s = done / (ended - begun)
    return Measured(per_s, percentile(latencies, 0.99), ENDS_S if took_s is None else took_s)


def _ends(bootstrap: str, mood: Mood) -> Counter[tuple[str, str]]:
    """What the dead tasks of `a` were asked to do, and what they died of."""
    found: Counter[tuple[str, str]] = Counter()
    for message in committed(bootstrap, DEAD, partitions_of(bootstrap)[DEAD]):
        event_id = json.loads(message.value() or b"")["event"]["id"]
        found[mood.told[event_id], header_of(message, "cw_dlq_reason")] += 1
    return found


def _plain(rounds: Mapping[str, Sequence[Measured]]) -> dict[str, list[list[float]]]:
    return {
        kind: [[each.per_s, each.p99_ms, each.ended_s] for each in found]
        for kind, found in rounds.items()
    }
