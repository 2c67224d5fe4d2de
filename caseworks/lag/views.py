"""What is told of lag: frozen, and JSON as it is (`dataclasses.asdict`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["OK", "WARN", "STALL", "STOP", "REWIND"]
STATES: tuple[State, ...] = ("OK", "WARN", "STALL", "STOP", "REWIND")
"""From well to worst; the place of one is the value of `caseworks_consumer_state`."""


def worst(states: Iterable[State | None]) -> State | None:
    """The worst; `None` when none is known to be bad, and one is not known."""
    given = list(states)
    known = [each for each in given if each is not None]
    found: State = max(known, key=STATES.index, default="OK")
    return None if found == "OK" and len(known) < len(given) else found


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a group. Numbers are records that a committed reader would be given."""

    group: str
    topic: str
    partition: int
    committed: int | None
    """`None`: nothing was committed yet, and reading begins at the beginning."""
    stable: int
    """Where committed readers end; `end` is where the log does."""
    end: int
    lag: int
    """Not done: what `committed_lag` counts without what is done ahead."""
    committed_lag: int
    """At or behind the committed offset; markers, aborted and compacted records are none."""
    done_ahead: int
    in_flight: int
    """Read by a member and not done."""
    undelivered: int
    """Not read by a member, as far as the last commit tells."""
    hidden: int
    """Offsets behind an open transaction: nobody can read them yet."""
    deleted: int
    """Offsets that retention deleted before they were read."""
    exact: bool
    """Whether the numbers were counted; else only the first of the records were."""
    oldest_age_s: float | None
    owned: bool
    """Whether a member has it."""
    state: State | None
    """`None`: it was not watched for long enough to say."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group with all partitions that it reads."""

    group: str
    agent: str | None
    members: int | None
    """`None`: the broker did not say."""
    unowned: int
    held: str
    """Why it takes no work by decision: a pause, an open breaker, for intake the limit of open
    cases; empty when nothing holds it."""
    partitions: tuple[PartitionLag, ...]

    @property
    def state(self) -> State | None:
        """The worst of its partitions'."""
        return worst(each.state for each in self.partitions)

    @property
    def lag(self) -> int:
        """Records not done."""
        return sum(each.lag for each in self.partitions)


@dataclass(frozen=True, slots=True)
class Work:
    """So much work: records, and what they will take as far as it was learned."""

    records: int = 0
    seconds: float | None = None
    tokens: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class AgentWork:
    """What waits for an agent: what it can do now, and what is held back."""

    agent: str
    group: str
    now: Work
    held: Work
    held_by: str
    learned_from: int
    """Attempts that the costs were learned from; 0: nothing is known of them."""


@dataclass(frozen=True, slots=True)
class LagReport:
    """Everything, at one moment."""

    at: float
    """Seconds since the epoch."""
    groups: tuple[GroupReport, ...]
    agents: tuple[AgentWork, ...] = ()
    breakers: tuple[str, ...] = ()
    """Dependencies whose breaker is not closed."""

    def as_json(self) -> dict[str, Any]:
        """For scripts and the API: groups with the worst state and the sum, agents with work."""
        groups = [{**asdict(g), "state": g.state, "lag": g.lag} for g in self.groups]
        agents = [asdict(each) for each in self.agents]
        return {"at": self.at, "groups": groups, "agents": agents, "breakers": self.breakers}
