"""From where a consumer reads its partitions.

The library is only ever given absolute offsets. A logical one (the beginning, the committed one) it
looks up by itself, and when a new assignment or a seek comes before that answer, it asks again
half a second later and goes where the late answer says: whole ranges are skipped, or read twice.
So nothing is read from an assignment until it is known from where, and the look-up is ours.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaException

from events.broker import TopicPartition
from events.errors import RetriableError
from events.kafka.config import library_log
from events.kafka.errors import NOT_STARTED, cause, translate, translated

LOOK_UP_TIMEOUT_S = 1.0
SEEK_TIMEOUT_S = 2.0
SEEK_AGAIN_S = 0.005


class Positions:
    """The positions of one client; the caller asks for owned partitions only."""

    def __init__(self, client: Any, where: str) -> None:
        self._client = client
        self._where = where
        self.unopened: set[TopicPartition] = set()
        """Assigned, but not known from where to read."""
        self._earliest: set[TopicPartition] = set()
        """To be read from the first record there is, which is not looked up yet."""
        self._reading: dict[TopicPartition, int] = {}
        """What is read, and an offset that it had reached."""
        self._paused: set[TopicPartition] = set()

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Take an assignment over; reads nothing of it. Called in the assignment callback."""
        self._client.assign([])
        self.unopened.update(partitions)

    def forget(self, gone: Collection[TopicPartition]) -> None:
        """Let partitions go. The library would remember that they were paused: it must not."""
        paused = self._paused.intersection(gone)
        if paused:
            self._client.resume(_parts(paused))
        for places in (self.unopened, self._earliest, self._paused):
            places.difference_update(gone)
        self._reading = {at: offset for at, offset in self._reading.items() if at not in gone}

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None:
        """Read from here on, paused or not; `None` is the first record there is."""
        paused = self._paused.intersection(positions)
        if paused:
            self._client.resume(_parts(paused))
            self._paused -= paused
        self.start(positions)

    def start(self, positions: Mapping[TopicPartition, int | None]) -> None:
        """The same, but what is paused stays so."""
        self.unopened.difference_update(positions)
        self._earliest.update(at for at, offset in positions.items() if offset is None)
        self._assign({at: offset for at, offset in positions.items() if offset is not None})
        self.start_earliest()

    def start_earliest(self) -> None:
        """Look up where logs begin, and read from there; what finds no answer waits."""
        found = {}
        for at in sorted(self._earliest):
            part = ck.TopicPartition(*at)
            try:
                low, _ = self._client.get_watermark_offsets(part, timeout=LOOK_UP_TIMEOUT_S)
                found[at] = low
            except KafkaException as exception:
                text = "BEGINNING %s: cannot look up where %s:%s begins: %s"
                library_log.warning(text, self._where, *at, cause(exception).str())
                break
        self._earliest.difference_update(found)
        self._assign(found)

    def bounds(self, at: TopicPartition) -> tuple[int, int]:
        """The first offset that is there, and the high watermark."""
        part = ck.TopicPartition(*at)
        with translated(f"{self._where}, bounds of {at.topic}:{at.partition}"):
            low, high = self._client.get_watermark_offsets(part, timeout=LOOK_UP_TIMEOUT_S)
        return low, high

    def of(self, at: TopicPartition) -> int:
        """From where a partition is read, as far as known; 0 if it is not."""
        return self._reading.get(at, 0)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivery; throws away what was fetched ahead."""
        paused = list(partitions)
        with translated(f"{self._where}, pause"):
            self._client.pause(_parts(paused))
        self._paused.update(paused)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver again, at once.

        Resuming does not wake the thread that fetches, which looks again only once a second;
        seeking does. So a partition is resumed first and sought after.
        """
        parts = _parts(partitions)
        with translated(f"{self._where}, resume"):
            self._client.resume(parts)
        self._paused.difference_update(TopicPartition(p.topic, p.partition) for p in parts)
        self._look()
        for part in parts:
            at = TopicPartition(part.topic, part.partition)
            if at in self._reading:
                self._seek(at, self._reading[at])

    def _assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Assign all that is read anew, with positions: those given, and where the rest stands."""
        if not positions:
            return
        with translated(f"{self._where}, positions"):
            self._look()
            self._reading |= positions
            self._client.assign([ck.TopicPartition(*at, o) for at, o in self._reading.items()])
            if paused := self._paused.intersection(positions):
                self._client.pause(_parts(paused))

    def _look(self) -> None:
        """Learn how far reading has come, where anything was taken."""
        for each in self._client.position(_parts(self._reading)):
            if each.offset >= 0:
                self._reading[TopicPartition(each.topic, each.partition)] = each.offset

    def _seek(self, at: TopicPartition, offset: int) -> None:
        if offset == 0:
            self._seek_when_started(at, 1)  # a seek to 0 alone does not wake the fetching thread
        self._seek_when_started(at, offset)

    def _seek_when_started(self, at: TopicPartition, offset: int) -> None:
        """A partition that was just assigned cannot be sought yet: try again, bounded."""
        deadline = time.monotonic() + SEEK_TIMEOUT_S
        while True:
            try:
                self._client.seek(ck.TopicPartition(*at, offset))
                return
            except KafkaException as exception:
                where = f"{self._where}, seek of {at.topic}:{at.partition} to {offset}"
                if cause(exception).code() not in NOT_STARTED:
                    raise translate(cause(exception), where) from exception
                if time.monotonic() > deadline:
                    raise RetriableError(f"{where}: its reading has not started yet") from None
            time.sleep(SEEK_AGAIN_S)


def _parts(partitions: Iterable[TopicPartition]) -> list[ck.TopicPartition]:
    return [ck.TopicPartition(*at) for at in partitions]
