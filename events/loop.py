"""Loops as sans-I/O generators: a loop yields an operation and receives its answer.

The same loop runs on Kafka (`ThreadDriver`: one loop, one OS thread) and in the simulator
(`SimDriver`: every actor of a system on one thread, a virtual clock, one seeded `Random`).
Every yield is a point where a process may be killed. Errors of an operation are thrown into the
generator as the types of `events.errors`. Rebalances arrive as data: in `Taken.assignment`, and,
for loops that must act before partitions go, as a `Revoking` answer to a `Take`: the loop does
its last commits and yields the `Take` again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from events.broker import (
    LogEnds,
    LogSlice,
    Message,
    OffsetAndMetadata,
    Record,
    Taken,
    TopicPartition,
)


@dataclass(frozen=True, slots=True)
class Take:
    """Up to `n` messages; waits at most `timeout_s` for the first. Answer: `Taken | Revoking`."""

    n: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Revoking:
    """These partitions go as soon as the loop yields its next `Take`."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Now:
    """Seconds since the epoch. Answer: `float`."""


# --- transactions


@dataclass(frozen=True, slots=True)
class Init:
    """Fence older producers of the loop's transactional id."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Replace the loop's producer by a new one and `Init` it (after `FencedError`)."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a transaction."""


@dataclass(frozen=True, slots=True)
class Produce:
    """Add records to the transaction, and behind them `marks`, whose offsets the commit answers."""

    records: Sequence[Record]
    marks: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class SendOffsets:
    """Commit positions with the transaction, under the membership read after the last take."""

    positions: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit the transaction. Answer: `LogEnds`."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Abort the transaction."""


# --- restoring


@dataclass(frozen=True, slots=True)
class Committed:
    """Committed positions. Answer: `dict[TopicPartition, int | None]`; throws `UnstableError`."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """High watermarks of partitions, open transactions included.

    Answer: `dict[TopicPartition, int]`.
    """

    sources: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class ReadLogs:
    """Committed records of partitions from an offset on: `dict[TopicPartition, LogSlice]`."""

    offsets: Mapping[TopicPartition, int]
    n: int


@dataclass(frozen=True, slots=True)
class Departed:
    """Who moved these positions last and left the group since. Answer: `frozenset[str]`."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """End whatever transaction this id holds open, by initialising under its name."""

    transactional_id: str


@dataclass(frozen=True, slots=True)
class Open:
    """Deliver from these positions on (`None`: the earliest)."""

    positions: Mapping[TopicPartition, int | None]


# --- workers


class Job(Struct, frozen=True, gc=False):
    """A message to execute; the executor's answer comes back as `Settled`."""

    message: Message
    failure: str = ""
    """Not to be executed, but answered as failed, of this kind."""


class Settled(Struct, frozen=True, gc=False):
    """The outcome (or dead letter) of this message is acknowledged by the broker."""

    source: TopicPartition
    offset: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Start:
    """Hand jobs to the executor; does not wait. Answer: `None`."""

    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Collect:
    """What was settled since the last time; waits up to `timeout_s` for something.

    Answer: `Sequence[Settled]`.
    """

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """How many jobs have ended, and wait until their answers are acknowledged. Answer: `int`."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget jobs of these partitions: cancel what runs; their outcomes may still arrive."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class CommitOffsets:
    """Commit positions without a transaction, and texts beside some of them."""

    positions: Mapping[TopicPartition, int]
    metadata: Mapping[TopicPartition, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResumedFrom:
    """The commits that reading went on from, without those that are not known yet.

    Answer: `dict[TopicPartition, OffsetAndMetadata | None]`.
    """

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop delivery from these partitions."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with delivery from these partitions."""

    partitions: tuple[TopicPartition, ...]


# --- telling


@dataclass(frozen=True, slots=True)
class Note:
    """Something to count or log: the driver passes it to its listener, which must not block."""

    name: str
    fields: Mapping[str, Any]


Operation = (
    Take
    | Now
    | Init
    | Renew
    | Begin
    | Produce
    | SendOffsets
    | Commit
    | Abort
    | Committed
    | LogEnd
    | ReadLogs
    | Departed
    | Release
    | Open
    | Start
    | Collect
    | Answered
    | Discard
    | CommitOffsets
    | ResumedFrom
    | Pause
    | Resume
    | Note
)
Answer = (
    Taken
    | Revoking
    | dict[TopicPartition, LogSlice]
    | Sequence[Settled]
    | dict[TopicPartition, int | None]
    | dict[TopicPartition, OffsetAndMetadata | None]
    | frozenset[str]
    | LogEnds
    | float
    | str
    | None
)
Loop = Generator[Operation, Any, None]
"""A loop ends only by `StopIteration` after a drain, or by an error its driver reports."""
