"""How much of a partition is not done, from what a reader found there. Pure.

Offsets are no records: commit markers, aborted records and what compaction removed take some. So
the records behind the committed offset are counted as far as they were read; of what lies behind
that, as many offsets are taken for records as in what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from events.broker import OffsetAndMetadata, TopicPartition
from events.progress import Progress, decode


class Found(NamedTuple):
    """A record that a committed reader is given."""

    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Facts:
    """A partition as its group and its log have it."""

    source: TopicPartition
    committed: OffsetAndMetadata | None
    first: int
    stable: int
    end: int

    @property
    def rewound(self) -> bool:
        """Whether the position lies behind the end: the topic was made anew or cut."""
        return self.committed is not None and self.committed.offset > self.end

    @property
    def start(self) -> int:
        """Where reading goes on."""
        if self.committed is None or self.rewound:
            return self.first
        return max(self.committed.offset, self.first)

    @property
    def deleted(self) -> int:
        """Offsets that are gone unread."""
        known = self.committed is not None and not self.rewound
        return self.start - self.committed.offset if known and self.committed else 0


@dataclass(frozen=True, slots=True)
class Scan:
    """What stands from `Facts.start` on, read up to (not with) `until`."""

    found: Sequence[Found] = field(default=())
    until: int = 0
    start: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """See `caseworks.lag.views.PartitionLag`."""

    committed_lag: int = 0
    done_ahead: int = 0
    in_flight: int = 0
    undelivered: int = 0
    exact: bool = True
    oldest_ms: int | None = None

    @property
    def lag(self) -> int:
        """Records not done."""
        return self.committed_lag - self.done_ahead


def count(facts: Facts, scan: Scan) -> Counts:
    """How much waits, and since when."""
    if facts.stable <= facts.start:
        return Counts()
    progress = _progress(facts, scan)
    read_to = facts.start if progress is None else max(progress.end, progress.seen)
    density = len(scan.found) / (scan.until - facts.start) if scan.until > facts.start else 1.0

    def counted(low: int, high: int, wanted: Callable[[Found], bool]) -> int:
        """Records in a range: those that were read, and a guess for the rest of it."""
        seen = sum(wanted(each) for each in scan.found if low <= each.offset < high)
        rest = max(0, min(high, facts.stable) - max(low, scan.until, facts.start))
        return seen + round(rest * density)

    def every(_record: Found) -> bool:
        return True

    def done(record: Found) -> bool:
        return progress is not None and progress.finished(record.offset)

    total = counted(facts.start, facts.stable, every)
    ahead = 0
    if progress is not None:
        unread = sum(offset >= scan.until for offset in progress.unfinished)
        ahead = max(0, counted(facts.start, progress.end, done) - unread)
    undelivered = counted(max(read_to, facts.start), facts.stable, every)
    oldest = next((each.timestamp_ms for each in scan.found if not done(each)), None)
    return Counts(
        committed_lag=total,
        done_ahead=ahead,
        in_flight=max(0, total - ahead - undelivered),
        undelivered=undelivered,
        exact=scan.until >= facts.stable,
        oldest_ms=oldest,
    )


def _progress(facts: Facts, scan: Scan) -> Progress | None:
    """What a worker told with its commit, if one did, and of this very log."""
    if facts.committed is None or facts.start != facts.committed.offset:
        return None
    try:
        told = decode(facts.committed.metadata, facts.committed.offset)
    except ValueError:
        return None  # of a loop, which tells its name there
    head = scan.found[0] if scan.found else None
    if head is not None and told.gap_before(head.offset, head.timestamp_ms):
        return None
    return told
