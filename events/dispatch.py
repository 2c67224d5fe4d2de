"""What an operation means on the ports: shared by `ThreadDriver` and `SimDriver`.

A driver owns a loop and its `Handles`, and repeats `operation = advance(loop, operation, handles)`
until the loop ends. What differs between drivers is only what stands around that line.

Two rules live here, so that both drivers keep them:

- the membership that fences `SendOffsets` is read right after every take, and no other consumer
  call comes before the transaction ends (a later read would put a lost partition's batch under
  fresh metadata: the broker checks the generation, not ownership);
- what must happen before partitions go is told to the loop as the answer `Revoking` to its own
  `Take`; the loop does its last commits and yields a `Take` again (`serve_revoke`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, assert_never

from events import loop as op
from events.broker import (
    Broker,
    Consumer,
    LogReader,
    Taken,
    TopicPartition,
    TransactionalProducer,
)
from events.errors import CaseworksError, DeclarationError

Clock = Callable[[], float]
"""Seconds since the epoch."""
Listener = Callable[[str, Mapping[str, Any]], None]
"""Takes the notes of a loop: a name and its fields. Must not block."""
Port = TypeVar("Port")


class Executor(Protocol):
    """Executes the jobs of a worker loop. Called from the loop's own thread."""

    def start(self, jobs: Sequence[op.Job]) -> None:
        """Take jobs over; does not wait. The loop bounds how many are in flight."""

    def collect(self, timeout_s: float) -> Sequence[op.Settled]:
        """What was settled since the last time; waits at most `timeout_s` for something."""

    @property
    def answered(self) -> int:
        """How many jobs have ended and wait only until their answers are acknowledged."""

    def discard(self, partitions: frozenset[TopicPartition]) -> None:
        """Cancel the jobs of these partitions and forget them; does not wait."""

    def close(self) -> None:
        """Cancel everything and free what is held."""


def unheard(name: str, fields: Mapping[str, Any]) -> None:
    """A listener that drops notes, for loops that nobody watches."""


@dataclass(slots=True)
class Handles:
    """What one run of a loop may use. Owned by the loop's thread.

    Args:
        broker: Makes the producers of `renew` and `release`.
        clock: Answers `Now`.
        consumer: The loop's member of its group.
        transactional_id: For loops with transactions; its producer is made by `Init` or `Renew`.
        reader: For loops that restore.
        executor: For workers.
        note: Hears the loop's notes.
    """

    broker: Broker
    clock: Clock
    consumer: Consumer
    transactional_id: str | None = None
    reader: LogReader | None = None
    executor: Executor | None = None
    note: Listener = unheard
    transactional: TransactionalProducer | None = None
    membership: Any = None
    """The group membership as it was right after the last take."""

    def init(self) -> None:
        """Make the transactional producer if there is none yet, and initialise it."""
        if self.transactional is None:
            self.transactional = self.broker.transactional(self._id())
        self.transactional.init()

    def renew(self) -> None:
        """Put a new, initialised producer in the place of a fenced one."""
        if self.transactional is not None:
            self.transactional.close()
            self.transactional = None
        self.init()

    def release(self, transactional_id: str) -> None:
        """End what this id holds open by initialising under its name; fences its owner."""
        producer = self.broker.transactional(transactional_id)
        try:
            producer.init()
        finally:
            producer.close()

    def close(self) -> None:
        """Free everything, the executor first; each part is tried even when another fails."""
        closers = [
            part.close
            for part in (self.executor, self.transactional, self.reader, self.consumer)
            if part is not None
        ]
        _each(closers)

    def _id(self) -> str:
        if self.transactional_id is None:
            raise _missing("transactional_id")
        return self.transactional_id


def perform(operation: op.Operation, handles: Handles) -> op.Answer:  # noqa: C901, PLR0912, PLR0915 - a table
    """Do what a loop asks; the answer is what `events.loop` says for the operation.

    Raises the errors of `events.errors` that the ports raise, and `DeclarationError` when the
    loop was wired without what the operation needs. The usual operations come first.
    """
    match operation:
        case op.Take(n, timeout_s):
            return take(handles, n, timeout_s)
        case op.Now():
            return handles.clock()
        case op.Note(name, fields):
            handles.note(name, fields)
        case op.Begin():
            _transactional(handles).begin()
        case op.Produce(records, marks):
            _transactional(handles).produce(records, marks)
        case op.SendOffsets(positions):
            _transactional(handles).send_offsets(positions, handles.membership)
        case op.Commit():
            return _transactional(handles).commit()
        case op.Start(jobs):
            _there(handles.executor, "executor").start(jobs)
        case op.Collect(timeout_s):
            return collect(handles, timeout_s)
        case op.CommitOffsets(positions, metadata):
            handles.consumer.commit(positions, metadata)
        case op.ResumedFrom(partitions):
            return handles.consumer.resumed_from(partitions)
        case op.Abort():
            _transactional(handles).abort()
        case op.Open(positions):
            handles.consumer.open(positions)
        case op.Committed(partitions):
            return handles.consumer.committed(partitions)
        case op.LogEnd(sources):
            return _there(handles.reader, "reader").ends(sources, committed=False)
        case op.ReadLogs(offsets, n):
            return _there(handles.reader, "reader").read_many(offsets, n)
        case op.Departed(partitions):
            return handles.consumer.departed(partitions)
        case op.Answered():
            return _there(handles.executor, "executor").answered
        case op.Discard(partitions):
            _there(handles.executor, "executor").discard(partitions)
        case op.Pause(partitions):
            handles.consumer.pause(partitions)
        case op.Resume(partitions):
            handles.consumer.resume(partitions)
        case op.Init():
            handles.init()
        case op.Renew():
            handles.renew()
        case op.Release(transactional_id):
            handles.release(transactional_id)
        case _:
            assert_never(operation)
    return None


def take(handles: Handles, n: int, timeout_s: float) -> Taken:
    """Perform a `Take`."""
    taken = handles.consumer.take(n, timeout_s)
    if handles.transactional is not None:
        handles.membership = handles.consumer.group_metadata()
    return taken


def collect(handles: Handles, timeout_s: float) -> Sequence[op.Settled]:
    """Perform a `Collect`."""
    return _there(handles.executor, "executor").collect(timeout_s)


def advance(loop: op.Loop, operation: op.Operation, handles: Handles) -> op.Operation:
    """Perform one operation and return the loop's next one.

    An error of `events.errors` is thrown into the loop; what the loop does not handle comes out
    again. Raises `StopIteration` when the loop has ended.
    """
    try:
        answer = perform(operation, handles)
    except CaseworksError as error:
        return loop.throw(error)
    return loop.send(answer)


def serve_revoke(
    loop: op.Loop, partitions: frozenset[TopicPartition], handles: Handles
) -> op.Operation:
    """Answer the loop's pending take with `Revoking` and perform what it yields until it takes.

    For the handler of `Consumer.on_revoke`, inside a take. Returns the loop's new pending take,
    which the outer take's reply answers.
    """
    operation = loop.send(op.Revoking(partitions))
    while not isinstance(operation, op.Take):
        operation = advance(loop, operation, handles)
    return operation


def _transactional(handles: Handles) -> TransactionalProducer:
    return _there(handles.transactional, "transactional producer (`Init` comes first)")


def _there(port: Port | None, what: str) -> Port:
    if port is None:
        raise _missing(what)
    return port


def _missing(what: str) -> DeclarationError:
    return DeclarationError(
        f"the loop asks for a {what}, which it was not given", hint="see events.dispatch.Handles"
    )


def _each(closers: Sequence[Callable[[], None]]) -> None:
    first: CaseworksError | None = None
    for close in closers:
        try:
            close()
        except CaseworksError as error:
            first = first or error
    if first is not None:
        raise first
