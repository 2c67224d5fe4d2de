"""One partition: what committed readers see, and when."""

from __future__ import annotations

import math

import pytest

from events.broker import Record, TopicPartition
from events.memory.log import PartitionLog, Transaction, size_of

SOURCE = TopicPartition("t", 0)


@pytest.fixture
def log() -> PartitionLog:
    return PartitionLog(SOURCE, bytes_max=1000)


def record(key: str, value: bytes | None = b"v") -> Record:
    return Record("t", key.encode(), value)


def transaction(name: str = "tx") -> Transaction:
    return Transaction(name, expires=math.inf)


def keys(log: PartitionLog) -> list[str]:
    return [(m.key or b"").decode() for m in log.read(0, 100).messages]


def test_a_marker_takes_an_offset_and_no_reader_sees_it(log: PartitionLog) -> None:
    tx = transaction()
    log.append(record("a"), 0, tx)
    tx.committed = True
    log.mark(tx)
    log.append(record("b"), 0)

    assert [m.offset for m in log.read(0, 10).messages] == [0, 2]
    assert log.end == 3


def test_an_open_transaction_hides_what_others_wrote_behind_it(log: PartitionLog) -> None:
    first, second = transaction("first"), transaction("second")
    log.append(record("a"), 0, first)
    log.append(record("b"), 0, second)
    second.committed = True
    log.mark(second)

    assert (log.stable, log.end) == (0, 3)
    assert keys(log) == []

    first.committed = False
    log.mark(first)

    assert keys(log) == ["b"]


def test_reading_on_from_a_slice_reaches_the_end_over_gaps(log: PartitionLog) -> None:
    tx = transaction()
    for key in "abc":
        log.append(record(key), 0, tx)
    tx.committed = False
    log.mark(tx)

    assert log.read(0, 2).messages == []
    assert log.read(0, 2).next_offset == 4


def test_a_slice_holds_no_more_than_asked_for(log: PartitionLog) -> None:
    for key in "abc":
        log.append(record(key), 0)

    found = log.read(0, 2)

    assert ([m.key for m in found.messages], found.next_offset) == ([b"a", b"b"], 2)


def test_compaction_keeps_the_newest_of_a_key_and_drops_tombstones(log: PartitionLog) -> None:
    for key, value in [("a", b"1"), ("b", b"1"), ("a", b"2"), ("b", None), ("c", b"1")]:
        log.append(record(key, value), 0)

    assert log.compact() == 3
    assert [(m.offset, m.value) for m in log.read(0, 10).messages] == [(2, b"2"), (4, b"1")]


def test_compaction_leaves_alone_what_is_not_stable(log: PartitionLog) -> None:
    log.append(record("a", b"old"), 0)
    log.append(record("a", b"open"), 0, transaction())
    log.append(record("a", b"behind"), 0)

    assert log.compact() == 0


def test_the_size_of_a_record_counts_its_headers() -> None:
    bare, full = Record("t", b"k", b"v"), Record("t", b"k", b"v", (("name", b"value"),))

    assert size_of(full) - size_of(bare) == 9
