"""Carrying out a replay or a drop: at a given rate, resumable, each letter once.

A run over a selection reads the dead-letter topics up to where they ended when it began, and
moves the positions of its own group `{ns}.replay.<run>` in the transaction that writes a batch and
its audit. Killed anywhere, it goes on exactly behind the last batch that was committed; the lag of
its group is what is left to look at. A second process under the same name fences the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from caseworks.dead_mail.audit import entry_record
from caseworks.dead_mail.letters import Dead, dead_of, place_of
from caseworks.dead_mail.pacing import Pacer
from caseworks.dead_mail.reading import Skip, upto
from caseworks.dead_mail.remedy import Remedy
from caseworks.dead_mail.seat import Seat, ends_of
from caseworks.dead_mail.selection import Sieve
from caseworks.dead_mail.transactions import Transactions
from events.broker import Broker, LogReader, Message, TopicPartition
from events.errors import PayloadError
from events.settings import Settings
from schemas.letter_audit import LetterRun

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""A batch ends with the letter that takes it over this."""

Treat = Callable[[Dead], Remedy]
"""What to do with a letter. Raises `PayloadError` for one that is refused."""
Tell = Callable[[Dead, Remedy | PayloadError], None]
"""Told of each letter when it was done, or refused."""


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
        for batch in batches(reader, starts, ends, wanted, job.pacer.batch, job.limit):
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
    most: int,
    limit: int | None = None,
) -> Iterator[Batch]:
    """The letters that are wanted between these positions, *most* at once, *limit* altogether."""
    letters: list[Dead] = []
    positions: dict[TopicPartition, int] = {}
    left, size = limit, 0
    for source, end in ends.items():
        for message in upto(reader, source, starts[source], end):
            positions[source] = message.offset + 1
            if not wanted(message):
                continue
            letters.append(dead_of(message))
            size += len(message.value or b"")
            left = None if left is None else left - 1
            if left == 0:
                yield Batch(letters, positions, is_last=True)
                return
            if len(letters) == most or size > BATCH_BYTES_MAX:
                yield Batch(letters, positions)
                letters, positions, size = [], {}, 0
        positions[source] = max(end, starts[source])
    yield Batch(letters, positions, is_last=True, is_end=True)
