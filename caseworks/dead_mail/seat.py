"""The group of a run: where it stands, and who may move it on."""

from __future__ import annotations

import time
from typing import Any

from events.broker import Broker, Consumer, ConsumerSpec, LogReader, TopicPartition
from events.errors import PayloadError, RetriableError, SetupError, UnstableError
from events.settings import Settings
from schemas.letter_audit import LetterRun

JOIN_TIMEOUT_S = 30.0


def place_key(source: TopicPartition) -> str:
    """A partition as `LetterRun.ends` names it."""
    return f"{source.topic}:{source.partition}"


def ends_of(run: LetterRun) -> dict[TopicPartition, int]:
    """Where a run ends, by partition. Raises `PayloadError` for a run that cannot be read."""
    found: dict[TopicPartition, int] = {}
    for name, end in run.ends.items():
        topic, _, partition = name.rpartition(":")
        if not partition.isdigit():
            raise PayloadError("run", f"the run {run.name} names {name!r}, which is no partition")
        found[TopicPartition(topic, int(partition))] = end
    return found


class Seat:
    """The one member of a run's group: it reads nothing, and fences the commits of others."""

    def __init__(self, broker: Broker, settings: Settings, run: LetterRun) -> None:
        self.name = f"{settings.namespace}-replay-{run.name}"
        self._run = run
        self._wanted = ends_of(run)
        topics = dict.fromkeys(source.topic for source in self._wanted)
        self._consumer: Consumer = broker.consumer(
            ConsumerSpec(
                group=settings.topics.replay_group(run.name),
                topics=tuple(topics),
                instance=self.name,
                paused_on_assign=True,
            )
        )

    def starts(self, reader: LogReader) -> tuple[dict[TopicPartition, int], bool]:
        """Where the run stands, and whether it has only begun. Waits until it has its seat."""
        self._sit()
        committed = self._committed()
        fresh = all(position is None for position in committed.values())
        return {
            source: reader.beginning(source) if position is None else position
            for source, position in committed.items()
        }, fresh

    def membership(self) -> Any:
        """What fences the next commit."""
        self._sit()
        return self._consumer.group_metadata()

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _committed(self) -> dict[TopicPartition, int | None]:
        """Asked until it is stable: who was killed may have left a transaction that moves it."""
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        while True:
            try:
                return self._consumer.committed(self._wanted)
            except (RetriableError, UnstableError) as error:
                if time.monotonic() >= deadline:
                    told = f"nobody can say where {self._run.name} stands: {error}"
                    hint = f"caseworks dlq replay --resume {self._run.name}"
                    raise SetupError(told, hint=hint) from None
            self._sit()  # a member that does not take is no member for long

    def _sit(self) -> None:
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        wait_s = 0.0
        while time.monotonic() < deadline:
            if self._consumer.take(1, wait_s).assignment.keys() >= self._wanted.keys():
                return
            wait_s = 0.1
        told = f"the group of {self._run.name} did not take this process in {JOIN_TIMEOUT_S:g} s"
        raise SetupError(
            told, hint=f"wait until the other one is gone, then --resume {self._run.name}"
        )
