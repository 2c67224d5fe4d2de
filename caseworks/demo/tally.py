"""Counting: what was published, what came back, and whether that fits. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from caseworks.demo.material import OUT_OF_SCOPE, DemoEvent, Judge

TICKET = "ticket.created"
RESOLVED = frozenset(("completed", "degraded"))

Name = tuple[str, str]
"""Source and id: an event's name."""


@dataclass(frozen=True, slots=True)
class Came:
    """A result as a subscriber saw it; *at* in seconds."""

    type: str
    status: str
    output: Any
    confidence: float | None
    at: float


@dataclass(slots=True)
class Measured:
    """One phase as it is seen live: who was published when, and the first answer to each."""

    sent: dict[Name, tuple[DemoEvent, float]] = field(default_factory=dict)
    came: dict[Name, Came] = field(default_factory=dict)
    dead: set[Name] = field(default_factory=set)

    def publish(self, event: DemoEvent, at: float) -> None:
        """An event left at this time."""
        self.sent[event.source, event.id] = event, at

    def result(self, name: Name, came: Came) -> None:
        """An answer; only to what this phase published, and only the first."""
        if name in self.sent:
            self.came.setdefault(name, came)

    def dead_letter(self, name: Name) -> None:
        """An event was refused."""
        if name in self.sent:
            self.dead.add(name)

    @property
    def answered(self) -> int:
        """Events that came to an end."""
        return len(self.came.keys() | self.dead)

    @property
    def complete(self) -> bool:
        """Whether all did."""
        return self.answered == len(self.sent)

    def latencies_ms(self, event_type: str | None = None) -> list[float]:
        """From publishing to the answer in the subscriber's hands, sorted."""
        return sorted(
            (came.at - self.sent[name][1]) * 1000
            for name, came in self.came.items()
            if event_type in (None, self.sent[name][0].type)
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """Labelled events of one type: those that were resolved without a person, and the rest."""

    labelled: int = 0
    right: int = 0
    wrong: int = 0
    escalated: int = 0
    resolved_out_of_scope: int = 0
    escalated_out_of_scope: int = 0

    @property
    def resolved(self) -> int:
        """Resolved without a person, out-of-scope events apart."""
        return self.right + self.wrong

    @property
    def out_of_scope(self) -> int:
        """Those that came back of events that nobody's knowledge covers."""
        return self.resolved_out_of_scope + self.escalated_out_of_scope


def judge_phase(phase: Measured, event_type: str, judge: Judge) -> Judged:
    """Right and wrong answers to the labelled events of a type."""
    marks: Counter[str] = Counter()
    for name, came in phase.came.items():
        event = phase.sent[name][0]
        if event.type == event_type and event.label is not None:
            marks[_mark(event.label, came, judge)] += 1
    labelled = sum(
        1
        for event, _ in phase.sent.values()
        if event.type == event_type and event.label not in (None, OUT_OF_SCOPE)
    )
    return Judged(labelled=labelled, **marks)


def _mark(label: str, came: Came, judge: Judge) -> str:
    resolved = came.status in RESOLVED
    if label == OUT_OF_SCOPE:
        return "resolved_out_of_scope" if resolved else "escalated_out_of_scope"
    if not resolved:
        return "escalated"
    return "right" if judge(label, came.output) else "wrong"


def percentile(values: Sequence[float], percent: float) -> float:
    """Of sorted values, by nearest rank; 0 when there are none."""
    if not values:
        return 0.0
    return values[max(0, ceil(len(values) * percent / 100) - 1)]


# --- the count at the end, over everything, from the topics alone


@dataclass(slots=True)
class Count:
    """What an independent reader found on the topics."""

    events: Counter[Name] = field(default_factory=Counter)
    results: Counter[Name] = field(default_factory=Counter)
    dead: Counter[Name] = field(default_factory=Counter)
    by_type: dict[str, Counter[str]] = field(default_factory=dict)

    def result(self, name: Name, result_type: str, status: str, *, amends: bool = False) -> None:
        """A result; one that amends another is no second answer."""
        if amends:
            return
        self.results[name] += 1
        self.by_type.setdefault(result_type, Counter())[status] += 1

    def lost(self, published: Iterable[Name]) -> list[Name]:
        """Published events without any end, or that never reached the topic."""
        return [
            name
            for name in published
            if not self.events[name] or not (self.results[name] or self.dead[name])
        ]

    def doubled(self, published: Iterable[Name]) -> int:
        """Ends beyond the first of each published event."""
        return sum(max(0, self.results[name] + self.dead[name] - 1) for name in published)


def report(
    count: Count, published: Sequence[Name], killed: int, phase: Measured, judge: Judge
) -> dict[str, Any]:
    """The demo as JSON: both phases counted from the topics, answers and times of *phase*."""
    tickets = judge_phase(phase, TICKET, judge)
    latencies = phase.latencies_ms()
    return {
        "published": len(published),
        "results": {kind: dict(found) for kind, found in sorted(count.by_type.items())},
        "dead_letters": sum(count.dead.values()),
        "killed": killed,
        "lost": len(count.lost(published)),
        "doubled": count.doubled(published),
        "tickets": tickets.labelled,
        "auto_resolved": tickets.resolved,
        "right": tickets.right,
        "wrong": tickets.wrong,
        "auto_resolved_out_of_scope": tickets.resolved_out_of_scope,
        "escalated_out_of_scope": tickets.escalated_out_of_scope,
        "p50_ms": round(percentile(latencies, 50), 1),
        "p99_ms": round(percentile(latencies, 99), 1),
    }


def mean(values: Iterable[float]) -> float | None:
    """The average, if there is one."""
    found = list(values)
    return sum(found) / len(found) if found else None
