"""One partition: records, transaction markers, the high watermark and the stable offset.

Offsets are list indices and are never given twice. Where a marker stands, or a record was aborted
or compacted away, there is a gap (`None`). A transaction is open *in this partition* until its
marker is written here, which may be later than in other partitions: everything from its first
record on is hidden from committed readers until then.
"""

from __future__ import annotations

from events.broker import LogSlice, Message, Record, TopicPartition

RECORD_OVERHEAD_BYTES = 80
"""Roughly what the broker's batch framing adds to a lone record."""


class Transaction:
    """What one transaction wrote. `committed` is `None` while it is undecided."""

    __slots__ = ("committed", "expires", "groups", "logs", "transactional_id")

    def __init__(self, transactional_id: str, expires: float) -> None:
        self.transactional_id = transactional_id
        self.expires = expires
        self.committed: bool | None = None
        self.logs: dict[PartitionLog, list[int]] = {}
        """Offsets of its records, by partition."""
        self.groups: dict[str, None] = {}
        """Groups that it sent offsets for, in order."""


class PartitionLog:
    """A partition's log. Not thread-safe: the cluster's lock guards it."""

    __slots__ = ("bytes_max", "entries", "first", "newest", "open", "source")

    def __init__(self, source: TopicPartition, bytes_max: int) -> None:
        self.source = source
        self.bytes_max = bytes_max
        self.entries: list[Message | None] = []
        self.first = 0
        """Where the log begins: retention has deleted what was before."""
        self.open: dict[Transaction, int] = {}
        """Transactions without a marker here and their first offsets, the lowest first."""
        self.newest: Message | None = None

    @property
    def end(self) -> int:
        """The high watermark: the next record's offset."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """Committed readers see nothing from here on."""
        return next(iter(self.open.values())) if self.open else len(self.entries)

    def fits(self, record: Record) -> bool:
        """Whether the broker takes a record of that size (`max.message.bytes`)."""
        return size_of(record) <= self.bytes_max

    def append(
        self, record: Record, timestamp_ms: int, transaction: Transaction | None = None
    ) -> int:
        """Write a record and return its offset."""
        topic, partition = self.source
        offset = len(self.entries)
        message = Message(
            topic, partition, offset, timestamp_ms, record.key, record.value, record.headers
        )
        self.entries.append(message)
        self.newest = message
        if transaction is not None:
            offsets = transaction.logs.get(self)
            if offsets is None:
                transaction.logs[self] = offsets = []
                self.open[transaction] = offset
            offsets.append(offset)
        return offset

    def mark(self, transaction: Transaction) -> None:
        """Write a decided transaction's marker; it takes an offset."""
        del self.open[transaction]
        if not transaction.committed:
            for offset in transaction.logs[self]:
                self.entries[offset] = None
        self.entries.append(None)

    def read(self, offset: int, n: int) -> LogSlice:
        """Up to `n` committed records from `offset` on, and where to go on reading."""
        stable = self.stable
        found: list[Message] = []
        at = max(offset, 0)
        while at < stable and len(found) < n:
            until = min(stable, at + n - len(found))
            found += [message for message in self.entries[at:until] if message is not None]
            at = until
        return LogSlice(found, at)

    def compact(self) -> int:
        """Keep the newest committed record of each key, drop tombstones; returns how many went.

        Records from the stable offset on stay.
        """
        readable = [m for m in self.entries[: self.stable] if m is not None and m.key is not None]
        newest = {message.key: message.offset for message in readable}
        gone = [m.offset for m in readable if newest[m.key] != m.offset or m.value is None]
        for offset in gone:
            self.entries[offset] = None
        return len(gone)


def size_of(record: Record) -> int:
    """Bytes that a record takes on the wire, roughly."""
    size = RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size
