"""One compact line for an operation and its answer: the same run writes the same bytes.

Values appear as checksums, so a line is short and still differs when the bytes do. Sets are sorted:
their order depends on the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zlib import crc32

from events import loop as op
from events.broker import LogSlice, Message, Record, Taken, TopicPartition


def text_of(operation: op.Operation) -> str:
    """The operation, without its answer."""
    match operation:
        case op.Take(n, timeout_s):
            return f"take {n} {timeout_s:g}s"
        case op.Produce(records, marks):
            return f"produce {' '.join(map(_record, (*records, *marks)))}"
        case op.SendOffsets(positions) | op.CommitOffsets(positions) | op.Open(positions):
            return f"{_name(operation)} {_positions(positions)}"
        case op.Committed(partitions) | op.Departed(partitions) | op.Discard(partitions):
            return f"{_name(operation)} {_partitions(partitions)}"
        case op.Pause(partitions) | op.Resume(partitions):
            return f"{_name(operation)} {_partitions(partitions)}"
        case op.LogEnd(sources):
            return f"{_name(operation)} {_partitions(sources)}"
        case op.ReadLogs(offsets, n):
            return f"readlogs {_positions(offsets)} {n}"
        case op.Release(transactional_id):
            return f"release {transactional_id}"
        case op.Start(jobs):
            return f"start {' '.join(_message(job.message) for job in jobs)}"
        case op.Note(name, _):
            return f"note {name}"
        case _:
            return _name(operation)


def answer_of(answer: object) -> str:
    """What an operation brought, or nothing."""
    match answer:
        case None:
            return ""
        case Taken(messages, assignment, lost):
            owned = ",".join(f"{_partition(tp)}#{assignment[tp]}" for tp in sorted(assignment))
            gone = f" lost {_partitions(lost)}" if lost else ""
            return f" -> {' '.join(map(_message, messages))} of [{owned}]{gone}"
        case op.Revoking(partitions):
            return f" -> revoking {_partitions(partitions)}"
        case LogSlice(messages, next_offset):
            return f" -> {' '.join(map(_message, messages))} next {next_offset}"
        case float():
            return ""
        case dict():
            ends = {s: v.next_offset if isinstance(v, LogSlice) else v for s, v in answer.items()}
            return f" -> {_positions(ends)}"
        case list() | tuple():
            return f" -> {' '.join(map(_settled, answer))}"
        case _:
            return f" -> {answer}"


def _name(operation: op.Operation) -> str:
    return type(operation).__name__.lower()


def _partition(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"


def _partitions(partitions: Iterable[TopicPartition]) -> str:
    return ",".join(map(_partition, sorted(partitions)))


def _positions(positions: Mapping[TopicPartition, int | None]) -> str:
    return ",".join(f"{_partition(tp)}@{position}" for tp, position in sorted(positions.items()))


def _message(message: Message) -> str:
    return f"{message.topic}/{message.partition}@{message.offset}"


def _settled(settled: object) -> str:
    if isinstance(settled, op.Settled):
        return f"{_partition(settled.source)}@{settled.offset}#{settled.epoch}"
    return str(settled)


def _record(record: Record) -> str:
    where = "" if record.partition is None else f"/{record.partition}"
    sum_ = crc32(record.value or b"", crc32(repr(record.headers).encode()))
    return f"{record.topic}{where} {(record.key or b'').decode('latin-1')}={sum_:08x}"
