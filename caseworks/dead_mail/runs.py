"""Carrying out a replay or a drop: at a given rate, resumable, each letter once.

A run over a selection reads the dead-letter topics up to where they ended when it began, and
moves the positions of its own group `{ns}.replay.<run>` in the transaction that writes a batch and
its audit. Killed anywhere, it goes on exactly behind the last batch that was committed; the lag of
its group is what is left to look at. A second process under the same name fences the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import uuid4

from caseworks.dead_mail.audit import entry_record
from caseworks.dead_mail.letters import Dead, dead_of, place_of
from caseworks.dead_mail.reading import Skip, upto
from caseworks.dead_mail.remedy import Remedy
from caseworks.dead_mail.selection import Sieve
from caseworks.dead_mail.transactions import Transactions
from events.broker import Broker, Consumer, ConsumerSpec, LogReader, Message, TopicPartition
from events.errors import PayloadError, SetupError
from events.settings import Settings
from schemas.letter_audit import LetterRun

BATCH_MAX = 100
"""Letters in one transaction; at a slow rate those of half a second."""
RATE_PER_S = 100.0
"""The default: a replay must not become a storm."""
JOIN_TIMEOUT_S = 30.0

Treat = Callable[[Dead], Remedy]
"""What to do with a letter. Raises `PayloadError` for one that is refused."""
Tell = Callable[[Dead, Remedy | PayloadError], None]
"""Told of each letter when it was done, or refused."""


def read_rate(text: str) -> float:
    """Letters in a second: `10`, `10/s`, `90/m`. Raises `PayloadError` for none at all."""
    number, _, unit = text.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        raise PayloadError("rate", f"{text!r} is no rate: say 10/s or 90/m") from None
    if not (0 < rate < inf):
        raise PayloadError("rate", f"a rate of {text} would never end: say 10/s or 90/m")
    return rate


@dataclass(slots=True)
class Pacer:
    """Keeps to a rate by waiting between batches."""

    rate_per_s: float = RATE_PER_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float | None = None

    @property
    def batch(self) -> int:
        """How many letters go into one transaction."""
        return max(1, min(BATCH_MAX, int(self.rate_per_s / 2)))

    def wait(self, count: int) -> None:
        """Wait until this many more may go."""
        now = self.clock()
        due = now if self._next is None else max(now, self._next)
        if due > now:
            self.sleep(due - now)
        self._next = due + count / self.rate_per_s


@dataclass(slots=True)
class Job:
    """How letters are treated, and who is told."""

    treat: Treat
    tell: Tell
    pacer: Pacer = field(default_factory=Pacer)
    limit: int | None = None
    """Letters treated at most; the rest is left to a resumed run."""


def carry_out_named(broker: Broker, settings: Settings, letters: Sequence[Dead], job: Job) -> None:
    """Treat these letters. Raises `PayloadError` for the first that is refused: nothing is done."""
    remedies = [job.treat(dead) for dead in letters]
    name = f"{settings.namespace}-letters-{uuid4().hex}"
    with closing(Transactions(broker, name)) as transactions:
        for start in range(0, len(letters), job.pacer.batch):
            batch = remedies[start : start + job.pacer.batch]
            job.pacer.wait(len(batch))
            transactions.write(_records(batch, settings))
            for dead, remedy in zip(letters[start:], batch, strict=False):
                job.tell(dead, remedy)


def carry_out(
    broker: Broker, settings: Settings, run: LetterRun, sieve: Sieve, skip: Skip, job: Job
) -> bool:
    """Begin a run or go on with it; returns whether it came to its end.

    *skip*: places that are left alone, those that were handled before.
    """
    ends = ends_of(run)
    with ExitStack() as stack:
        seat = stack.enter_context(closing(Seat(broker, settings, run)))
        transactions = stack.enter_context(closing(Transactions(broker, seat.name)))
        reader = stack.enter_context(closing(broker.reader()))
        starts, fresh = seat.starts(reader)
        if fresh:
            transactions.write([entry_record(run, settings)], starts, seat.membership)
        wanted = _wanted(sieve, skip)
        for batch in batches(reader, starts, ends, wanted, job):
            remedies = [(dead, _treated(job.treat, dead)) for dead in batch.letters]
            good = [each for _, each in remedies if isinstance(each, Remedy)]
            job.pacer.wait(len(good))
            transactions.write(_records(good, settings), batch.positions, seat.membership)
            for dead, done in remedies:
                job.tell(dead, done)
            if batch.is_last:
                return batch.is_end
    return True


def _wanted(sieve: Sieve, skip: Skip) -> Callable[[Message], bool]:
    return lambda message: sieve.takes(message) and place_of(message) not in skip


def _treated(treat: Treat, dead: Dead) -> Remedy | PayloadError:
    try:
        return treat(dead)
    except PayloadError as error:
        return error


def _records(remedies: Sequence[Remedy], settings: Settings) -> list[Any]:
    written = [remedy.record for remedy in remedies if remedy.record is not None]
    return [*written, *(entry_record(remedy.entry, settings) for remedy in remedies)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Letters, and where their partitions stand behind them."""

    letters: list[Dead]
    positions: dict[TopicPartition, int]
    is_last: bool = False
    is_end: bool = False
    """Nothing is left of the selection."""


def batches(
    reader: LogReader,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    wanted: Callable[[Message], bool],
    job: Job,
) -> Iterator[Batch]:
    """The letters that are wanted between these positions, partition by partition."""
    letters: list[Dead] = []
    positions: dict[TopicPartition, int] = {}
    left = job.limit
    for source, end in ends.items():
        for message in upto(reader, source, starts[source], end):
            positions[source] = message.offset + 1
            if not wanted(message):
                continue
            letters.append(dead_of(message))
            left = None if left is None else left - 1
            if left == 0:
                yield Batch(letters, positions, is_last=True)
                return
            if len(letters) == job.pacer.batch:
                yield Batch(letters, positions)
                letters, positions = [], {}
        positions[source] = max(end, starts[source])
    yield Batch(letters, positions, is_last=True, is_end=True)


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
        committed = self._consumer.committed(self._wanted)
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

    def _sit(self) -> None:
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        wait_s = 0.0
        while time.monotonic() < deadline:
            if self._consumer.take(1, wait_s).assignment.keys() >= self._wanted.keys():
                return
            wait_s = 0.1
        told = f"the group of {self._run.name} did not take this process in {JOIN_TIMEOUT_S:g} s"
        raise SetupError(told, hint=f"wait until the other one is gone, then --resume {self.name}")
