"""What workers said of numbered tasks, in the order of each inbox partition: pure.

A task is named by its key and its number among those of that key. What is told twice was done
twice; that is allowed to a killed worker alone, for what it had done and could not commit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Told(NamedTuple):
    """An outcome, who said it and when (milliseconds since the epoch, as the record says)."""

    key: str
    number: int
    worker: str
    at_ms: int
    done: bool = True


class Kill(NamedTuple):
    """A worker that was killed, and when."""

    worker: str
    at_ms: int


@dataclass(slots=True)
class Completions:
    """Told of every outcome, in order."""

    firsts: dict[tuple[str, int], Told] = field(default_factory=dict)
    again: list[tuple[Told, Told]] = field(default_factory=list)
    """The first and the later one."""
    disordered: list[str] = field(default_factory=list)
    failed: int = 0
    _next: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _by_worker: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def tell(self, told: Told) -> None:
        """One more outcome."""
        name = (told.key, told.number)
        self._by_worker[told.worker].append(told.at_ms)
        self.failed += not told.done
        first = self.firsts.setdefault(name, told)
        if first is not told:
            self.again.append((first, told))
            return
        if told.number != self._next[told.key]:
            due = self._next[told.key]
            self.disordered.append(f"{told.key}: {told.number} where {due} was due")
        self._next[told.key] = told.number + 1

    def in_flight_most(self, kill: Kill, in_flight_max: int, commit_ms: int) -> int:
        """What a killed worker can have had in flight at most: taken, and not committed.

        Besides its bound, that is what it had finished since its last commit.
        """
        begin = kill.at_ms - commit_ms
        finished = sum(begin <= at <= kill.at_ms for at in self._by_worker[kill.worker])
        return in_flight_max + finished

    def doubled_by(self, kills: Sequence[Kill], commit_ms: int) -> tuple[Counter[Kill], int]:
        """How often something was done twice, by kill; and what no kill explains."""
        found: Counter[Kill] = Counter()
        strange = 0
        for first, _ in self.again:
            for kill in kills:
                if kill.worker == first.worker and 0 <= kill.at_ms - first.at_ms <= commit_ms:
                    found[kill] += 1
                    break
            else:
                strange += 1
        return found, strange
