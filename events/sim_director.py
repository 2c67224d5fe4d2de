"""Who goes next: by chance, or by a schedule; and what chance said, kept as a schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from events.sim_actors import Runner
from events.sim_roster import Roster
from events.sim_schedule import DUE, JUMP, START, Chance, Choice, Schedule, Tape

TARRIES_MAX = 8
"""How many times in a row time passes while something is on its way and nobody else can go."""


class Director:
    """Chooses runners; owns the run's only source of chance.

    Args:
        seed: For a run by chance.
        keeps: Keep the schedule.
        schedule: Run this; the seed then means nothing.
    """

    def __init__(self, seed: int, *, keeps: bool, schedule: Schedule | None) -> None:
        self.kept: list[Choice] = []
        self.keeps = keeps
        self._replays = schedule is not None
        self._coming = deque(schedule or ())
        self._tape = Tape(seed, replays=self._replays) if keeps or self._replays else None
        self.rng: Chance = self._tape or Chance(seed)
        self._draw = self.rng.random
        self._play(START)
        # Some runs switch at every step, some let one actor act for long; in some, markers and
        # deliveries take their time. Runs of one kind only would all miss the same bugs.
        self._inertia = (0.0, 0.0, 0.5, 0.9)[int(self.rng.random() * 4)]
        self._haste = (1.0, 0.3, 0.03)[int(self.rng.random() * 3)]
        self._last: Runner | None = None
        self._tarried = self._turns = 0
        self._turn_of: dict[str, int] = {}
        self._started = False

    def begin(self) -> None:
        """A run begins: what was drawn before belongs to its start."""
        if not self._started:
            self._keep(START)
            self._started = True

    def due(self) -> None:
        """Agenda entries are about to be done."""
        self._play(DUE)

    def done(self, what: str) -> None:
        """A step, a jump or the agenda is done: keep what was drawn."""
        self._keep(what)

    def choose(self, roster: Roster) -> Runner | None:
        """One of those that can go, or `None`: time passes."""
        if self._replays:
            return self._by_schedule([roster.runners[at] for at in roster.able])
        chosen = self._by_chance(roster)
        if self._tape is not None:
            self._tape.cut()  # a schedule says who, not how that was drawn
        return chosen

    def _by_chance(self, roster: Roster) -> Runner | None:
        draw, able, last = self._draw, roster.able, self._last
        # Drawn in any case: who is ready must not shift the stream of chance.
        stays = draw() < self._inertia
        if stays and last is not None and roster.can_go(last):
            return last
        if not able:
            return None
        at = able[int(draw() * len(able))]
        if at == 0 and draw() > self._haste:
            if len(able) > 1:
                at = able[1 + int(draw() * (len(able) - 1))]
            elif self._tarried < TARRIES_MAX:
                self._tarried += 1
                return None  # time passes before anything arrives
        if at == 0:
            self._tarried = 0
        self._last = chosen = roster.runners[at]
        return chosen

    def _by_schedule(self, able: Sequence[Runner]) -> Runner | None:
        """The next choice that can be; at the end, whoever went the longest ago."""
        assert self._tape is not None
        by_key = {runner.key: runner for runner in able}
        # Time passes, and the network tarries, only while nobody else can go.
        possible = by_key if any(r.life is not None for r in able) else {JUMP, *by_key}
        while self._coming:
            choice = self._coming.popleft()
            if choice.key in possible:
                self._tape.play(choice.draws)
                return by_key.get(choice.key)
        self._tape.play(())
        if not able:
            return None
        key = min(by_key, key=lambda key: self._turn_of.get(key, 0))
        self._turns += 1
        self._turn_of[key] = self._turns
        return by_key[key]

    def _play(self, what: str) -> None:
        if self._tape is None or not self._replays:
            return
        if self._coming and self._coming[0].key == what:
            self._tape.play(self._coming.popleft().draws)
        else:
            self._tape.play(())

    def _keep(self, what: str) -> None:
        if self._tape is not None:
            drawn = self._tape.cut()
            if self.keeps and (drawn or what != DUE):
                self.kept.append(Choice(what, drawn))
