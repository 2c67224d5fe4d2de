"""What goes wrong, how often, and the dice that decide it.

*Faults* happen at most `fired_max` times in a run, and are traced. *Weather* is what every cluster
does all the time: markers arrive late, takes return less than they could, deliveries are slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities, each per opportunity; all zero is a quiet cluster.

    An opportunity is: a step of an actor (`kill`, `stop`, `clock_jump`), a step of any actor
    (`rebalance`, `lost_partitions`), or one call (the rest).
    """

    # --- of processes, decided by the simulation driver
    kill: float = 0.0
    """The process is gone; half of the calls it was in were carried out, half were not."""
    stop: float = 0.0
    """The process stands still, usually loses its membership, and goes on later as a zombie."""
    clock_jump: float = 0.0
    """The process's clock jumps, at most an hour forward or back, and comes right again later."""
    # --- of groups
    rebalance: float = 0.0
    """Every member must rejoin; partitions may move."""
    lost_partitions: float = 0.0
    """A live member is expired: it learns at its next take, and may be in a transaction now."""
    # --- of calls
    retriable: float = 0.0
    """A call fails with `RetriableError` and was not carried out."""
    commit_timeout: float = 0.0
    """A commit fails with `RetriableError` and was carried out."""
    abort_commit: float = 0.0
    """A commit fails with `AbortableError`."""
    abort_offsets: float = 0.0
    """Sending offsets fails with `AbortableError`."""
    fenced: float = 0.0
    """A commit finds that another producer took the transactional id."""
    lost_delivery: float = 0.0
    """A plain producer's record is given up; half of these were written all the same."""
    duplicate: float = 0.0
    """A plain producer's record is written twice."""
    # --- of agents, once per attempt
    agent_fails: float = 0.0
    """It asks for a retry, fails for good, is deferred or escalates."""
    agent_lingers: float = 0.0
    """It takes its time: its outcome comes late, or its time is up."""
    agent_sticks: float = 0.0
    """It does not return and ignores its cancellation, for a while or for ever."""
    # --- weather
    late_marker: float = 0.0
    """A marker of a decided transaction is held back, alone."""
    short_take: float = 0.0
    """A take returns at most three messages."""
    split_take: float = 0.0
    """Other actors act between a take's first message and the rest."""
    patient_take: float = 0.0
    """A take that lost all its partitions goes on waiting for new ones before it returns."""
    slow_delivery: float = 0.0
    """A plain producer's record is still on its way when the call returns."""
    # --- of agents again
    agent_kills: float = 0.0
    """It kills its worker, whenever this task is run from now on."""
    fired_max: int = 12
    """After so many faults the rest of the run is without."""
    each_max: int = 1000
    """After so many faults of one kind the rest of the run is without that kind."""

    def drawn(self, rng: Random) -> Faults:
        """Half of these kinds, the others switched off: runs differ more than by chance alone.

        Source: swarm testing (Groce et al., ISSTA 2012).
        """
        off = [name for name in KINDS if rng.random() < 0.5]
        return replace(self, **dict.fromkeys(off, 0.0))  # type: ignore[arg-type]


KINDS = tuple(field.name for field in fields(Faults) if not field.name.endswith("_max"))
QUIET = Faults()
HARSH = Faults(
    kill=0.015,
    stop=0.015,
    clock_jump=0.002,
    rebalance=0.01,
    lost_partitions=0.01,
    retriable=0.03,
    commit_timeout=0.08,
    abort_commit=0.05,
    abort_offsets=0.03,
    fenced=0.02,
    lost_delivery=0.03,
    duplicate=0.05,
    agent_fails=0.08,
    agent_lingers=0.08,
    agent_sticks=0.02,
    late_marker=0.5,
    short_take=0.5,
    split_take=0.3,
    patient_take=0.5,
    slow_delivery=0.5,
)
"""All of it, at rates that hit a run of some hundred operations several times."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that happened, and where."""

    kind: str
    where: str


def _unheard(fired: Fired) -> None:
    """Nobody listens."""


class Dice:
    """Decides faults and weather with one random stream.

    Args:
        rng: The run's only source of chance.
        faults: How often what happens.
    """

    def __init__(self, rng: Random, faults: Faults) -> None:
        self.rng = rng
        self.faults = faults
        self.fired: list[Fired] = []
        self.on_fired: Callable[[Fired], None] = _unheard
        self._random = rng.random
        self._odds = {name: float(getattr(faults, name)) for name in KINDS}
        self._totals: dict[tuple[str, ...], float] = {}
        self._armed = True
        self.quiet = not any(self._odds.values())
        """Nothing ever happens: no need to ask."""

    def strikes(self, kind: str, where: str) -> bool:
        """Whether this fault happens here and now; it then counts."""
        odds = self._odds[kind]
        if not odds or not self._armed or self._random() >= odds:
            return False
        self._fire(kind, where)
        return True

    def strikes_one(self, kinds: tuple[str, ...], where: str) -> str | None:
        """Which of these faults happens here and now, if any: for places that come by often."""
        total = self._totals.get(kinds)
        if total is None:
            total = self._totals[kinds] = sum(self._odds[kind] for kind in kinds)
        if not total or not self._armed:
            return None
        drawn = self._random()
        if drawn >= total:
            return None
        for kind in kinds:
            drawn -= self._odds[kind]
            if drawn < 0:
                self._fire(kind, where)
                return kind
        return None

    def _fire(self, kind: str, where: str) -> None:
        fired = Fired(kind, where)
        self.fired.append(fired)
        if sum(known.kind == kind for known in self.fired) >= self.faults.each_max:
            self._odds[kind] = 0.0
            self._totals.clear()
        self._armed = len(self.fired) < self.faults.fired_max
        self.on_fired(fired)

    def weather(self, kind: str) -> bool:
        """Whether this happens; it is not counted."""
        odds = self._odds[kind]
        return bool(odds) and self._random() < odds

    def pick(self, n: int) -> int:
        """One of `0 … n-1`."""
        return int(self._random() * n)

    def between(self, low: float, high: float) -> float:
        """A number of that range."""
        return low + (high - low) * self._random()

    def calm(self) -> None:
        """No more faults; the weather stays."""
        self._armed = False
