"""How many cases may be open at once: owners tell, intake waits (rule 7).

The owner of an inbox partition writes how many cases it holds open to `control`, in a transaction
with its positions, when that has changed by a hundredth of the partition's share and not more often
than once a second. What it told stands in a note of the partition too, so the next owner goes on
from there. A count stays true while nobody owns its partition, since nothing is applied then: it
never expires. The limit is soft: what is between intake and the owners is not counted yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from events.broker import Message, Record, TopicPartition
from events.envelope import record_of
from events.topics import Topics
from schemas.base import instant
from schemas.control import OpenCases

OPEN_NOTE = "open"
"""The note with the count that was told last."""
TELL_S = 1.0
PARTS = 100
"""A count is told when it has changed by this part of the partition's share."""
RESUME_BELOW = 0.95
"""Intake goes on when fewer than this part of the limit are open."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What owners need to tell counts."""

    topics: Topics
    partitions: int
    cases_open_max: int

    def due(self, open_now: int, told: bytes | None) -> bool:
        """Whether a count differs enough from the one that was told."""
        step = max(1, self.cases_open_max // (self.partitions * PARTS))
        return abs(open_now - int(told or b"0")) >= step

    def record(self, partition: int, open_now: int, now: float) -> Record:
        """The count of a partition."""
        key = f"open:{partition}"
        return record_of(
            OpenCases.trusted(partition=partition, open=open_now, at=instant(now)),
            OpenCases.ce_type,
            topic=self.topics.control,
            key=key,
            ce_id=f"{key}:{now:.3f}",
            source=f"caseworks/{self.topics.namespace}",
            now=now,
            partition=0,
        )


@dataclass(slots=True)
class Admission:
    """What intake knows of the counts, and whether it waits: a `Watch`."""

    log: TopicPartition
    cases_open_max: int
    counts: dict[int, int] = field(default_factory=dict)
    full: bool = False

    @property
    def said(self) -> Mapping[str, int]:
        """What is told when intake begins or ends waiting."""
        return {"open": self.open_count, "limit": self.cases_open_max}

    @property
    def open_count(self) -> int:
        """Cases open in all partitions, as far as told."""
        return sum(self.counts.values())

    def learn(self, messages: Sequence[Message]) -> bool:
        """Take counts over; whether intake must wait from now on."""
        for message in messages:
            if message.header("ce_type") != OpenCases.ce_type or message.value is None:
                continue
            try:
                told = OpenCases.from_json(message.value)
            except ValidationError:
                continue  # a count that cannot be read changes nothing; the next one does
            self.counts[told.partition] = told.open
        limit = self.cases_open_max * (RESUME_BELOW if self.full else 1)
        self.full = self.open_count >= limit
        return self.full
