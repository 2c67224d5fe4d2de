"""What was chosen in a run, step by step, so that it can be run again, changed and made shorter.

A schedule is a list of choices: who went, and the random numbers that were drawn meanwhile. Run
again it gives the same run. Run again with choices left out, who cannot go is skipped, and what is
not chosen any more is calm: no faults, everybody in turn. So every part of a schedule is a
schedule, and the shortest one that still fails can be searched for (`shorten`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

CALM = 1.0 - 2.0**-53
"""Drawn where a schedule says nothing: no fault strikes, the last of several is picked."""
START, DUE, JUMP = "(start)", "(due)", "(time)"
"""What draws before the first step, when the agenda is worked off, and when time passes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who went (`c0`, `w1/agents`, `network`, or one of the words above) and what was drawn."""

    key: str
    draws: tuple[float, ...] = ()


Schedule = Sequence[Choice]


class Chance(Random):
    """A `Random` of which everything comes from `random()`."""

    def getrandbits(self, k: int, /) -> int:
        drawn = 0
        for _ in range(0, k, 32):
            drawn = drawn << 32 | int(self.random() * 4_294_967_296)
        return drawn & ((1 << k) - 1)


class Tape(Chance):
    """Keeps what is drawn, and plays what was drawn before.

    Args:
        seed: For a new run.
        replays: Draw nothing new: `play` says what comes, then calm.
    """

    def __init__(self, seed: int, *, replays: bool) -> None:
        super().__init__(seed)
        self._replays = replays
        self._coming: Iterator[float] = iter(())
        self._drawn: list[float] = []

    def random(self) -> float:
        value = next(self._coming, CALM) if self._replays else super().random()
        self._drawn.append(value)
        return value

    # Random looks which of the two a class defines itself.
    getrandbits = Chance.getrandbits

    def play(self, draws: Sequence[float]) -> None:
        """Draw these next."""
        self._coming = iter(draws)

    def cut(self) -> tuple[float, ...]:
        """What was drawn since the last cut."""
        drawn, self._drawn = tuple(self._drawn), []
        return drawn


def shorten(
    schedule: Schedule, fails: Callable[[Schedule], bool], *, tries_max: int = 2000
) -> Schedule:
    """A schedule of which no single choice can be left out, as far as `tries_max` runs reach.

    Drops choices, in large pieces and then in small ones, makes the rest calm one by one, and
    begins again while that helped. `fails` runs a schedule and says whether what is looked for
    still happens; a schedule that does not fail is returned as it is.

    Source: delta debugging, ddmin (Zeller and Hildebrandt, 2002).
    """
    budget = [tries_max]

    def still_fails(candidate: Schedule) -> bool:
        budget[0] -= 1
        return budget[0] >= 0 and fails(candidate)

    if not still_fails(schedule):
        return schedule
    kept, before = list(schedule), None
    while kept != before and budget[0] > 0:
        before = kept
        kept = _calmed(_without_pieces(kept, still_fails), still_fails)
    return kept


def _calmed(kept: list[Choice], fails: Callable[[Schedule], bool]) -> list[Choice]:
    for index, choice in enumerate(kept):
        calm = [*kept[:index], replace(choice, draws=()), *kept[index + 1 :]]
        if choice.draws and fails(calm):
            kept = calm
    return kept


def _without_pieces(kept: list[Choice], fails: Callable[[Schedule], bool]) -> list[Choice]:
    size = max(len(kept) // 2, 1)
    while True:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if fails(rest):
                kept = rest
            else:
                start += size
        if size == 1:
            return kept
        size = max(size // 2, 1)
