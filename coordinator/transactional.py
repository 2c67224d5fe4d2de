"""The transactional loop: exactly once from one topic to others, whatever is killed.

One turn: take -> plan (pure) -> begin -> produce -> send offsets -> commit -> promote. Never an
outside call inside a transaction. The numbered rules are those of `coordinator/README.md`;
each was broken once, by experiment or by reason, and each is a deliberate bug of the checker.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.turn import Processor, Turn, Watch
from events.broker import LogEnds, Message, Taken, TopicPartition
from events.errors import (
    AbortableError,
    ChangelogError,
    FencedError,
    RetriableError,
    StateLostError,
    UnstableError,
)
from events.loop import (
    Abort,
    Begin,
    Commit,
    Committed,
    Departed,
    Init,
    LogEnd,
    Loop,
    Note,
    Now,
    Open,
    Operation,
    Pause,
    Produce,
    ReadLogs,
    Release,
    Renew,
    Resume,
    SendOffsets,
    Take,
)

Step = Generator[Operation, Any, Any]

COMPANY_MAX = 10
"""A turn of more messages has company enough."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """The bounds of a transactional loop."""

    batch_max: int = 1000
    take_timeout_s: float = 0.05
    aborts_max: int = 3
    """Aborts at one position before the batch is halved."""
    fenced_again_s: float = 60.0
    """A second fencing within this time ends the process."""
    look_s: float = 1.0
    """How often a look for those who left the group is tried until it succeeds."""
    looks_max: int = 30
    """After so many in vain the broker has ended by itself what they left open."""
    restore_batch: int = 20_000
    company_s: float = 0.002
    """How long a turn that nobody waits for waits for more."""
    watch_s: float = 1.0
    """How often a loop looks at what it watches."""


@dataclass(slots=True)
class _Restoring:
    """How far the restore of one partition is."""

    committed: int | None = None
    end: int | None = None
    offset: int = 0

    @property
    def done(self) -> bool:
        """Whether the changelog was read to its end."""
        return self.end is not None and self.offset >= self.end


class TransactionalLoop:
    """Drives a processor; `run` is the generator."""

    def __init__(
        self,
        processor: Processor,
        name: str,
        limits: LoopLimits,
        watch: Watch | None = None,
    ) -> None:
        """*name* is the transactional id: `{ns}-{loop}-{instance}`, stable (rule 4).

        *watch*: says when the loop takes nothing (rule 7).
        """
        self.watch = watch
        self.watched_at = 0.0
        self.watched_to = 0
        self.processor = processor
        self.name = name
        self.limits = limits
        self.epochs: dict[TopicPartition, int] = {}
        self.ready: dict[TopicPartition, int | None] = {}
        self.pending: dict[TopicPartition, _Restoring] = {}
        self.inherited: set[TopicPartition] = set()
        """Assigned, and not yet known whether who had it left a transaction open."""
        self.looks = 0
        self.looked_at = float("-inf")
        self.stopped: dict[TopicPartition, str] = {}
        """Partitions whose changelog cannot be read, and why: they stand still."""
        self.batch = limits.batch_max
        self.aborts = 0
        self.fenced_at: float | None = None

    def run(self) -> Loop:
        """Take, commit, for ever."""
        try:
            yield from self._run()
        finally:
            self.processor.close()

    def _run(self) -> Loop:
        yield from self._repeat(Init())
        while True:
            wait_s = 0.005 if self.pending else self.limits.take_timeout_s
            taken: Taken = yield Take(self.batch, wait_s)
            self._assign(taken)
            # What a partition delivered before it was opened is delivered again from its position.
            messages = taken.messages
            if self.pending:
                messages = [m for m in messages if m.source in self.ready]
                yield from self._restore_pending()
            elif self.inherited:
                yield from self._release_departed()
            now: float = yield Now()
            yield from self._look(now)
            try:
                turn = self.processor.plan(messages, self.ready, now)
                if turn is not None and turn.quiet and self._waits(messages):
                    self.processor.drop(turn)
                    messages = yield from self._with_company(messages)
                    turn = self.processor.plan(messages, self.ready, now)
            except StateLostError as error:
                yield from self._lose(error, messages)
                continue
            if turn is not None:
                yield from self._transact(turn, messages, now)

    def _waits(self, messages: Sequence[Message]) -> bool:
        """Not for timers, a full turn, or while what aborts is looked for."""
        return 0 < len(messages) <= COMPANY_MAX and self.batch == self.limits.batch_max

    def _with_company(self, messages: Sequence[Message]) -> Step:
        """These and what comes in a moment, mostly the other outcome of a join (rule 1 holds)."""
        taken: Taken = yield Take(self.batch, self.limits.company_s)
        self._assign(taken)
        both = (*messages, *taken.messages)
        return [m for m in both if m.source in self.ready and self.epochs[m.source] == m.epoch]

    # --- assignment and restore (rules 1 and 3)

    def _assign(self, taken: Taken) -> None:
        """State belongs to an epoch of an assignment: a regained partition is restored again."""
        if taken.assignment == self.epochs:
            return
        for source in [s for s in self.epochs if s not in taken.assignment]:
            self._forget(source)
        for source, epoch in taken.assignment.items():
            if self.epochs.get(source) != epoch:
                self._forget(source)
                self.pending[source] = _Restoring()
                self.inherited.add(source)
                self.looks = 0
        self.inherited &= taken.assignment.keys()
        self.epochs = dict(taken.assignment)
        self.aborts = 0

    def _forget(self, source: TopicPartition) -> None:
        self.ready.pop(source, None)
        self.pending.pop(source, None)
        self.stopped.pop(source, None)

    def _lose(self, error: StateLostError, messages: Sequence[Message] = ()) -> Step:
        """The state of a partition cannot be trusted any more: it is restored from the log.

        *messages* are put back.
        """
        if messages:
            yield from self._repeat(Open({m.source: self.ready[m.source] for m in messages}))
        for source in [s for s in self.ready if s.partition == error.partition]:
            self.processor.abandon(source)
            del self.ready[source]
            self.pending[source] = _Restoring()
            yield self._discarded(source, "corrupt", str(error))

    def _discarded(self, source: TopicPartition, reason: str, error: str = "") -> Note:
        fields = {"loop": self.processor.name, "partition": source.partition, "reason": reason}
        return Note("discarded", {**fields, "error": error})

    def _restore_pending(self) -> Step:
        """(a) committed positions, (b) high watermarks, (c) changelogs up to them; (d) start."""
        try:
            yield from self._begin_restore()
            stuck = yield from self._read_changelogs()
        except UnstableError:
            stuck = True
        if stuck:
            yield from self._release_departed()
        done = [s for s, state in self.pending.items() if state.done]
        if not done:
            return
        positions = {s: self.processor.restored(s, self.pending[s].committed) for s in done}
        yield from self._repeat(Open(positions))
        yield from self._hold(positions)
        self.ready.update(positions)
        for source in done:
            del self.pending[source]
        yield Note("restored", {"loop": self.processor.name, "partitions": len(done)})

    def _begin_restore(self) -> Step:
        """Positions first: `committed` waits out the previous owner's open transaction."""
        new = [source for source, state in self.pending.items() if state.end is None]
        if not new:
            return
        committed = yield from self._repeat(Committed(tuple(new)))
        ends: LogEnds = {}
        if self.processor.changelog is not None:
            ends = yield from self._repeat(LogEnd(tuple(map(self._log, new))))
        now: float = yield Now()
        for source in new:
            state = self.pending[source]
            state.committed, state.end = committed[source], 0
            if self.processor.changelog is not None:
                state.end = ends[self._log(source)]
                adopted = self.processor.adopt(source, state.end, now)
                state.offset = adopted.offset
                if adopted.discarded is not None:
                    yield self._discarded(source, adopted.discarded)

    def _read_changelogs(self) -> Step:
        """One slice of each; returns whether open transactions hide the rest of all of them."""
        behind = {s: state for s, state in self.pending.items() if not state.done}
        if not behind:
            return False
        offsets = {self._log(source): state.offset for source, state in behind.items()}
        slices = yield from self._repeat(ReadLogs(offsets, self.limits.restore_batch))
        stuck = True
        for source, state in behind.items():
            slice_ = slices[self._log(source)]
            try:
                self.processor.restore(source, slice_.messages, slice_.next_offset)
            except ChangelogError as error:
                yield from self._stop(source, error)
                continue
            stuck = stuck and slice_.next_offset == state.offset
            state.offset = slice_.next_offset
        return stuck

    def _stop(self, source: TopicPartition, error: ChangelogError) -> Step:
        """A record cannot be read: this partition stands still, the others go on."""
        self.processor.abandon(source)
        del self.pending[source]
        self.stopped[source] = str(error)
        said = {"loop": self.processor.name, "partition": source.partition, "error": str(error)}
        yield Note("stopped", said)

    def _release_departed(self) -> Step:
        """End the transactions of those who had these partitions and left the group.

        Such a transaction hides what we restore from, or what it wrote and all that comes behind
        it, until the broker's time-out. In an outage the broker cannot say who left: then we do
        not insist, but look again a little later.
        """
        now: float = yield Now()
        if not self.inherited or abs(now - self.looked_at) < self.limits.look_s:
            return
        self.looked_at = now
        self.looks += 1
        try:
            departed: frozenset[str] = yield Departed(tuple(sorted(self.inherited)))
            for writer in sorted(departed - {self.name}):
                yield Note("release", {"loop": self.processor.name, "writer": writer})
                yield Release(writer)
        except (RetriableError, FencedError) as error:
            yield Note("retried", {"loop": self.processor.name, "error": str(error)})
            if self.looks < self.limits.looks_max:
                return
        self.inherited.clear()

    def _log(self, source: TopicPartition) -> TopicPartition:
        return TopicPartition(self.processor.changelog or "", source.partition)

    # --- waiting while too many cases are open (rule 7)

    def _look(self, now: float) -> Step:
        """Once a second, read what others told, and stop or start taking."""
        watch = self.watch
        if watch is None or abs(now - self.watched_at) < self.limits.watch_s:
            return
        self.watched_at = now
        asked = ReadLogs({watch.log: self.watched_to}, self.limits.restore_batch)
        told = (yield from self._repeat(asked))[watch.log]
        self.watched_to = told.next_offset
        was = watch.full
        full = watch.learn(told.messages)
        if full and not was:
            yield from self._hold(self.ready)
            yield Note("full", {"loop": self.processor.name, **watch.said})
        elif was and not full:
            yield Resume(tuple(self.ready))
            yield Note("room", {"loop": self.processor.name, **watch.said})

    def _hold(self, partitions: Iterable[TopicPartition]) -> Step:
        """What was opened delivers nothing while too many cases are open."""
        held = tuple(partitions)
        if held and self.watch is not None and self.watch.full:
            yield Pause(held)

    # --- one transaction (rules 2 and 5)

    def _transact(self, turn: Turn, messages: Sequence[Message], now: float) -> Step:
        try:
            yield from self._repeat(Begin())
            yield Produce(turn.records, turn.marks)
            yield from self._repeat(SendOffsets(turn.positions))
            ends: LogEnds = yield from self._repeat(Commit())
        except (AbortableError, RetriableError) as error:
            self.processor.drop(turn)
            yield from self._abort(turn, messages, now, error)
        except FencedError:
            self.processor.drop(turn)
            yield from self._renew(now)
        else:
            self.ready.update(turn.positions)
            self.aborts, self.batch = 0, self.limits.batch_max
            try:
                self.processor.promote(turn, ends)
            except StateLostError as error:
                yield from self._lose(error)
            yield Note("committed", {"loop": self.processor.name, "turn": turn})

    def _abort(self, turn: Turn, messages: Sequence[Message], now: float, error: Exception) -> Step:
        """Abort and go back; what aborts again and again is made smaller, then set aside."""
        yield Note("aborted", {"loop": self.processor.name, "error": str(error)})
        try:
            yield from self._repeat(Abort())
        except AbortableError:
            yield from self._renew(now)
            return
        except FencedError:
            yield from self._renew(now)
            return
        back = {source: self.ready[source] for source in turn.positions if source in self.ready}
        yield from self._repeat(Open(back))
        self.aborts += 1
        yield from self._hold(back)
        if self.aborts < self.limits.aborts_max:
            return
        if len(messages) > 1:
            self.batch, self.aborts = max(1, len(messages) // 2), 0
        elif messages:
            self.aborts = 0
            aside = self.processor.reject(messages[0], now, str(error))
            yield from self._transact(aside, (), now)
            # The consumer went back to the message: it must not be taken a second time.
            on = {source: self.ready[source] for source in aside.positions if source in self.ready}
            yield from self._repeat(Open(on))

    def _renew(self, now: float) -> Step:
        """Fenced: one new producer and a restore of everything; again within a minute, give up."""
        if self.fenced_at is not None and now - self.fenced_at < self.limits.fenced_again_s:
            raise FencedError(
                f"{self.name} was fenced twice within {self.limits.fenced_again_s:.0f} s",
                hint="is a second process running under the same --instance?",
            )
        self.fenced_at = now
        yield Note("fenced", {"loop": self.processor.name})
        yield from self._repeat(Renew())
        self.stopped.clear()
        self.ready.clear()
        self.pending = {source: _Restoring() for source in self.epochs}

    def _repeat(self, operation: Operation) -> Step:
        """Repeat a retriable call, a commit's time-out included, until it says yes or no."""
        while True:
            try:
                return (yield operation)
            except RetriableError as error:
                yield Note("retried", {"loop": self.processor.name, "error": str(error)})
