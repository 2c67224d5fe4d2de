"""What arrived at the cluster, in the order it arrived: the evidence that checks look at.

A record of a transaction, or a position that it carries, counts when its transaction was committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from events.broker import Message, TopicPartition
from events.memory.log import Transaction


@dataclass(frozen=True, slots=True)
class Wrote:
    """A record was written."""

    message: Message
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Positions of a group were committed, or sent to be committed with a transaction."""

    group: str
    member: str
    positions: Mapping[TopicPartition, int]
    strays: tuple[TopicPartition, ...]
    """Those that the member did not own."""
    transaction: Transaction | None = None


Entry = Wrote | Moved


class Journal:
    """Keeps everything; for runs that end."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def counted(self) -> list[Entry]:
        """Without what was aborted or is still open."""
        return [e for e in self.entries if e.transaction is None or e.transaction.committed]
