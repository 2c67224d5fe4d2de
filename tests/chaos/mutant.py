"""The same command line with a guard taken out, to see the check fail: the control arm.

    python -m tests.chaos.mutant KIND coordinator --instance 0 --app module:app

- `none`: all guards stand; it only dies, now and then, in the middle of a transaction: after its
  effects were sent and before the state that says so.
- `no-transactions`: it dies there too, and its records and offsets are no transaction.
- `random-names`: every start is a new member with a new transactional id.
- `dies-in-intake`, `dies-in-orchestrator`: all guards stand; it dies after that loop has sent its
  offsets, and leaves a transaction open that hides them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from caseworks.cli import run
from caseworks.cli.base import Deps, connect
from events.broker import (
    Admin,
    Broker,
    Consumer,
    ConsumerSpec,
    LogEnds,
    LogReader,
    Producer,
    Record,
    TopicPartition,
    TransactionalProducer,
)

DIES_AFTER = 60
"""Turns with something to send, in one process; then it dies in the middle of the next."""
IN_LOOP = "dies-in-"
FLUSH_S = 10.0


class DyingProducer:
    """A transactional producer whose process ends between effects and state, or at the end."""

    def __init__(
        self, inner: TransactionalProducer, chance: Countdown, *, at_commit: bool = False
    ) -> None:
        self._inner = inner
        self._chance = chance
        self._at_commit = at_commit

    def init(self) -> None:
        self._inner.init()

    def begin(self) -> None:
        self._inner.begin()

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        effects = [record for record in records if not record.topic.endswith(".cases")]
        state = [record for record in records if record.topic.endswith(".cases")]
        self._inner.produce(effects)
        if effects and state and not self._at_commit:
            self._chance.turn()
        self._inner.produce(state, marks)

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        self._inner.send_offsets(positions, metadata)

    def commit(self) -> LogEnds:
        if self._at_commit:
            self._chance.turn()
        return self._inner.commit()

    def abort(self) -> None:
        self._inner.abort()

    def close(self) -> None:
        self._inner.close()


class Countdown:
    """kill -9 of this process after so many turns."""

    def __init__(self, turns: int) -> None:
        self._left = turns

    def turn(self) -> None:
        """One turn more."""
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class BareProducer:
    """Looks like a transactional producer and keeps none of its promises."""

    def __init__(self, producer: Producer, consumer: Consumer) -> None:
        self._producer = producer
        self._consumer = consumer
        self._positions: dict[TopicPartition, int] = {}

    def init(self) -> None:
        """Fence nobody."""

    def begin(self) -> None:
        self._positions = {}

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        for record in (*records, *marks):
            self._producer.produce(record)
        self._producer.flush(FLUSH_S)

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        self._positions = dict(positions)

    def commit(self) -> LogEnds:
        self._consumer.commit(self._positions)
        return {}

    def abort(self) -> None:
        self._positions = {}

    def close(self) -> None:
        self._producer.close()


class Mutated:
    """A broker whose transactional producers die, and where asked for are none."""

    def __init__(self, inner: Broker, kind: str) -> None:
        self.features = inner.features
        self._inner = inner
        self._kind = kind
        self._chance = Countdown(DIES_AFTER)
        self._mine = threading.local()

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        consumer = self._inner.consumer(spec)
        self._mine.consumer = consumer  # a loop makes all that it uses on its own thread
        return consumer

    def transactional(self, transactional_id: str) -> TransactionalProducer:
        if self._kind == "no-transactions":
            bare = BareProducer(self._inner.producer(), self._mine.consumer)
            return DyingProducer(bare, self._chance)
        inner = self._inner.transactional(transactional_id)
        if not self._kind.startswith(IN_LOOP):
            return DyingProducer(inner, self._chance)
        if self._kind.removeprefix(IN_LOOP) in transactional_id:
            return DyingProducer(inner, self._chance, at_commit=True)
        return inner

    def producer(self, *, ordered: bool = True) -> Producer:
        return self._inner.producer(ordered=ordered)

    def reader(self) -> LogReader:
        return self._inner.reader()

    def admin(self) -> Admin:
        return self._inner.admin()


def main(kind: str, arguments: list[str]) -> int:
    """Run the command with its guard out."""
    if kind == "random-names":
        place = arguments.index("--instance") + 1
        return run([*arguments[:place], uuid4().hex[:12], *arguments[place + 1 :]])
    return run(arguments, Deps(connect=lambda settings: Mutated(connect(settings), kind)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
