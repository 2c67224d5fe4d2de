"""What a committed reader found on the topics, and what is wrong with it: pure.

The rules know nothing of how Caseworks works. They are the wire contract: an event has one result
however often it was published, a task (`task_id`, `attempt`) is sent once, each record of an event
becomes one command, and what is said of a step comes after what is said of the steps that it reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN_MAX = 5
"""Examples named for each kind of complaint."""

Judge = Callable[[str, Mapping[str, Any]], bool]
"""Whether a result (as JSON) is right for the event of this id."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts; `wrong` names examples by kind."""

    events: int = 0
    results: int = 0
    lost: int = 0
    hung: int = 0
    skipped: int = 0
    doubled_results: int = 0
    doubled_tasks: int = 0
    doubled_opens: int = 0
    out_of_order: int = 0
    bad_results: int = 0
    dead_letters: int = 0
    strangers: int = 0
    amended: int = 0
    """Results that correct an earlier one of their event: what a replay brings."""
    examples: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.broken().values())

    def broken(self) -> dict[str, int]:
        """What must be nothing."""
        return {
            name: getattr(self, name)
            for name in (
                "lost",
                "hung",
                "skipped",
                "doubled_results",
                "doubled_tasks",
                "doubled_opens",
                "out_of_order",
                "bad_results",
                "dead_letters",
                "strangers",
            )
        }


@dataclass(slots=True)
class Accountant:
    """Told of every committed record, in the order of each partition.

    Args:
        published: Ids of the events whose publication was acknowledged.
        needs: The steps that each step reads, where the order of what is said is checked.
        judge: Whether a result is right.
        mortal: Dead-letter topics in which letters are expected.
        amends_max: Results of one event that amend an earlier one: of each replay one.
    """

    published: Collection[str]
    needs: Mapping[str, Collection[str]]
    judge: Judge
    mortal: Collection[str] = ()
    amends_max: int = 0
    _amended: Counter[str] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _results: Counter[str] = field(default_factory=Counter)
    _tasks: Counter[tuple[str, int]] = field(default_factory=Counter)
    _opens: Counter[str] = field(default_factory=Counter)
    _said: dict[str, set[str]] = field(default_factory=dict)
    _dead: list[str] = field(default_factory=list)
    _bad: list[str] = field(default_factory=list)
    _disordered: list[str] = field(default_factory=list)
    _strange: list[str] = field(default_factory=list)

    def event(self, event_id: str) -> None:
        """An event on the topic where it was published."""
        self._events[event_id] += 1

    def result(self, event_id: str, body: Mapping[str, Any]) -> None:
        """A result; one that amends another is none of its own."""
        if body.get("amends"):
            self._amended[event_id] += 1
        else:
            self._results[event_id] += 1
        if event_id not in self._events:
            self._strange.append(f"result of {event_id}")
        elif not self.judge(event_id, body):
            self._bad.append(f"{event_id}: {body.get('status')} {body.get('reason') or ''}")

    def task(self, task_id: str, attempt: int) -> None:
        """A task on its agent's topic."""
        self._tasks[task_id, attempt] += 1

    def opened(self, case_id: str, event_id: str) -> None:
        """A case's first command."""
        self._opens[event_id] += 1
        self._said.setdefault(case_id, set())

    def outcome(self, task_id: str, *, done: bool) -> None:
        """What a worker said; `task_id` is `case:step` and more."""
        case_id, _, step = task_id.partition(":")
        said = self._said.get(case_id)
        if said is None:
            self._disordered.append(f"{task_id} before its case was opened")
            return
        missing = [need for need in self.needs.get(step, ()) if need not in said]
        if missing:
            self._disordered.append(f"{task_id} before {', '.join(missing)}")
        if done:
            said.add(step)

    def dead_letter(self, topic: str, name: str) -> None:
        """A dead letter: hardly anything here is wrong enough for one."""
        if topic not in self.mortal:
            self._dead.append(f"{topic}: {name}")

    def verdict(self) -> Verdict:
        """Everything is told."""
        unanswered = [event for event in self.published if not self._results[event]]
        doubled, tasks = _beyond(self._results), _beyond(self._tasks)
        doubled += _beyond(self._amended, self.amends_max)
        skipped, opens = self._events - self._opens, self._opens - self._events
        found = {
            "lost": [event for event in unanswered if not self._opens[event]],
            "hung": [event for event in unanswered if self._opens[event]],
            "skipped": list(skipped),
            "doubled_results": list(doubled),
            "doubled_tasks": [f"{task}:{attempt}" for task, attempt in tasks],
            "doubled_opens": list(opens),
            "out_of_order": self._disordered,
            "bad_results": self._bad,
            "dead_letters": self._dead,
            "strangers": self._strange,
        }
        return Verdict(
            events=len(self._events),
            results=len(self._results),
            lost=len(found["lost"]),
            hung=len(found["hung"]),
            skipped=skipped.total(),
            doubled_results=doubled.total(),
            doubled_tasks=tasks.total(),
            doubled_opens=opens.total(),
            out_of_order=len(self._disordered),
            bad_results=len(self._bad),
            dead_letters=len(self._dead),
            strangers=len(self._strange),
            amended=self._amended.total(),
            examples={name: names[:SHOWN_MAX] for name, names in found.items() if names},
        )


def _beyond(counts: Counter[Any], most: int = 1) -> Counter[Any]:
    return Counter({name: n - most for name, n in counts.items() if n > most})
