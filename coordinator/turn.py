"""One turn of a transactional loop as data, and what a loop needs from its processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from events.broker import LogEnds, Message, Record, TopicPartition

UNKNOWN: LogEnds = {}


@dataclass(slots=True)
class Turn:
    """What one transaction does. `change` is the processor's own: applied only by `promote`."""

    records: list[Record] = field(default_factory=list)
    marks: list[Record] = field(default_factory=list)
    """The last record of each changelog: its offset says how far that is once committed."""
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    observed: list[tuple[str, float, tuple[tuple[str, str], ...]]] = field(default_factory=list)
    change: Any = None
    quiet: bool = False
    """Whether it tells nobody anything: it may wait a moment for more."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter of `events.metrics`; told only once the transaction has committed."""
        key = (name, tuple(labels.items()))
        self.counts[key] = self.counts.get(key, 0) + value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add to a histogram of `events.metrics`, likewise."""
        self.observed.append((name, value, tuple(labels.items())))


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a processor has of a partition."""

    offset: int
    """The changelog offset to read on from."""
    discarded: str | None = None
    """Why a state that was there cannot be trusted and was thrown away: a stable word."""


class Watch(Protocol):
    """What a loop reads once a second beside its work, and may have to wait for (rule 7)."""

    @property
    def log(self) -> TopicPartition:
        """Where that stands."""

    @property
    def full(self) -> bool:
        """Whether the loop takes nothing for now."""

    @property
    def said(self) -> Mapping[str, int]:
        """What is told of it when the loop begins or ends waiting."""

    def learn(self, messages: Sequence[Message]) -> bool:
        """Take over what was read; whether the loop takes nothing from now on."""


class Processor(Protocol):
    """The pure side of a loop: messages in, a turn out, state changed only by `promote`."""

    name: str
    """The loop: `intake`, `orchestrator`."""

    changelog: str | None
    """The topic its state is restored from; `None` for a loop without state."""

    def adopt(self, source: TopicPartition, end: int, now: float) -> Adopted:
        """A partition was assigned, whose changelog ends at `end`: where to read on from."""

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """Apply committed changelog records; the next read starts at `upto`.

        Raises `ChangelogError` for a record that cannot be read: `abandon` comes next.
        """

    def abandon(self, source: TopicPartition) -> None:
        """Throw the state of a partition away: it is adopted from the beginning next."""

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """The changelog was read: the input position to start at (`None`: the earliest)."""

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> Turn | None:
        """What to do with these messages and with what is due; `None`: nothing.

        `ready` holds the owned, restored partitions with their current positions. Raises
        `StateLostError` when a partition's state cannot be trusted any more; so does `promote`.
        """

    def reject(self, message: Message, now: float, error: str) -> Turn:
        """A turn that puts one message that cannot be committed into the dead-letter topic."""

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """The turn was committed: make its change the state.

        *ends*: where each changelog goes on after this turn, as far as that is known.
        """

    def drop(self, turn: Turn) -> None:
        """The turn was aborted: forget its change."""

    def close(self) -> None:
        """The loop ends: free what is held."""
