"""Reads any partition from any offset: restoring, and looking at logs.

Two clients, made when first needed: what is committed, and what is there. Asked for the end of a
partition, the broker answers the first with the stable offset and the second with the high
watermark. The end of a log is learned from the library's end-of-partition event, since the last
offsets may hold nothing but transaction markers; it is signalled once, so after it the partition
is let go and the next read begins anew (2 ms).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError

from events.broker import LogSlice, Message, TopicPartition
from events.errors import RetriableError
from events.kafka.config import ClientConfig, Isolation, log
from events.kafka.errors import ENDS_A_CONSUMER, PARTITION_EOF, translate, translated
from events.kafka.messages import to_messages

ANSWER_TIMEOUT_S = 5.0
WRITER_HEADER = "cw-tx"
LOOK_BACK = 16
"""How many offsets before the end the newest record is looked for first; then ever more."""


class KafkaLogReader:
    """See `events.broker.LogReader`."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._logs: dict[Isolation, _Log] = {}

    def end(self, source: TopicPartition, *, committed: bool) -> int:
        return self._log("read_committed" if committed else "read_uncommitted").bounds(source)[1]

    def beginning(self, source: TopicPartition) -> int:
        return self._log("read_committed").bounds(source)[0]

    def read(self, source: TopicPartition, offset: int, n: int) -> LogSlice:
        """As the port says; where the log's head was deleted, from its beginning on.

        Raises `RetriableError` when no broker answers within `ANSWER_TIMEOUT_S`.
        """
        return self._log("read_committed").read(source, offset, n)

    def read_many(
        self, offsets: Mapping[TopicPartition, int], n: int
    ) -> dict[TopicPartition, LogSlice]:
        """As the port says; one fetch serves all partitions of a broker."""
        return self._log("read_committed").read_many(offsets, n)

    def last_writer(self, source: TopicPartition) -> str | None:
        everything = self._log("read_uncommitted")
        first, end = everything.bounds(source)
        back = LOOK_BACK
        while end > first:
            start = max(first, end - back)
            found = everything.read(source, start, end - start).messages
            if found:
                return found[-1].header(WRITER_HEADER)
            if start == first:
                break
            back *= 8
        return None

    def close(self) -> None:
        for each in self._logs.values():
            each.close()

    def _log(self, isolation: Isolation) -> _Log:
        if isolation not in self._logs:
            self._logs[isolation] = _Log(self._config, isolation)
        return self._logs[isolation]


class _Log:
    """One client, reading at most one partition at a time."""

    def __init__(self, config: ClientConfig, isolation: Isolation) -> None:
        self._trouble = config.trouble
        with translated("log reader"):
            self._client = ck.Consumer(config.reader(isolation))
        self._at: tuple[TopicPartition, int] | None = None
        """What is being read, and the next offset."""
        self._end = 0
        """Where it ended when reading began."""

    def bounds(self, source: TopicPartition) -> tuple[int, int]:
        with translated(f"bounds of {source.topic}:{source.partition}"):
            low, high = self._client.get_watermark_offsets(
                ck.TopicPartition(*source), timeout=ANSWER_TIMEOUT_S
            )
        return low, high

    def read(self, source: TopicPartition, offset: int, n: int) -> LogSlice:
        if self._at != (source, offset):
            first, self._end = self.bounds(source)
            offset = max(offset, first)
            if offset >= self._end:
                return LogSlice((), offset)
            self._client.assign([ck.TopicPartition(*source, offset)])
        self._at = None
        with translated(f"reading {source.topic}:{source.partition}"):
            messages, position, ended = self._read_on(source, offset, n)
        if ended or position >= self._end:
            self._client.unassign()
        else:
            self._at = source, position
        return LogSlice(messages, position)

    def read_many(
        self, offsets: Mapping[TopicPartition, int], n: int
    ) -> dict[TopicPartition, LogSlice]:
        found = {source: LogSlice((), offset) for source, offset in offsets.items()}
        open_ = {}
        for source, offset in offsets.items():
            first, end = self.bounds(source)
            if max(offset, first) < end:
                open_[source] = max(offset, first)
        if not open_:
            return found
        self._at = None
        self._client.assign([ck.TopicPartition(*s, offset) for s, offset in open_.items()])
        try:
            with translated(f"reading {len(open_)} partitions"):
                return found | self._read_all(open_, n)
        finally:
            self._client.unassign()

    def _read_all(self, open_: dict[TopicPartition, int], n: int) -> dict[TopicPartition, LogSlice]:
        """Until each has ended, or `n` messages are there."""
        read: dict[TopicPartition, list[Any]] = {source: [] for source in open_}
        ended: dict[TopicPartition, int] = {}
        taken = 0
        while len(ended) < len(open_) and taken < n:
            first = self._client.poll(ANSWER_TIMEOUT_S)
            if first is None:
                raise RetriableError(
                    f"reading {len(open_)} partitions: no answer for {ANSWER_TIMEOUT_S} s"
                )
            for m in [first, *self._client.consume(min(n, 100_000), 0)]:
                source = TopicPartition(m.topic() or "", m.partition() or 0)
                error = m.error()
                if error is None:
                    read[source].append(m)
                    taken += 1
                elif error.code() == PARTITION_EOF:
                    ended[source] = m.offset() or 0
                else:
                    self._told(error, source)
        slices = {}
        for source, raw in read.items():
            messages = to_messages(raw, {source: 0})
            after = messages[-1].offset + 1 if messages else open_[source]
            slices[source] = LogSlice(messages, max(after, ended.get(source, after)))
        return slices

    def _read_on(
        self, source: TopicPartition, position: int, n: int
    ) -> tuple[list[Message], int, bool]:
        messages: list[Message] = []
        while len(messages) < n:
            first = self._client.poll(ANSWER_TIMEOUT_S)
            if first is None:
                if messages:
                    break
                raise RetriableError(
                    f"reading {source.topic}:{source.partition} at {position}:"
                    f" no answer for {ANSWER_TIMEOUT_S} s"
                )
            raw = [first, *self._client.consume(min(n - len(messages) - 1, 100_000), 0)]
            good, end = self._until_end(raw, source)
            if good:
                messages += to_messages(good, {source: 0})
                position = messages[-1].offset + 1
            if end is not None:
                return messages, max(position, end), True
        return messages, position, False

    def _until_end(self, raw: list[Any], source: TopicPartition) -> tuple[list[Any], int | None]:
        """The messages before the end-of-partition event, and its offset if it is among them."""
        good = []
        for m in raw:
            error = m.error()
            if error is None:
                good.append(m)
            elif error.code() == PARTITION_EOF:
                return good, m.offset()
            else:
                self._told(error, source)
        return good, None

    def _told(self, error: KafkaError, source: TopicPartition) -> None:
        where = f"reading {source.topic}:{source.partition}"
        if error.code() in ENDS_A_CONSUMER or error.fatal():
            self._client.unassign()
            raise translate(error, where)
        self._trouble(error.name())
        log.warning("%s: %s [%s]", where, error.str(), error.name())

    def close(self) -> None:
        with suppress(RuntimeError):  # closed already
            self._client.close()
