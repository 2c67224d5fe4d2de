"""Plays consumer and executor for one worker loop, operation by operation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from agents.backlog import Bounds
from agents.limits.gate import Gate, always
from agents.worker import WorkerConfig, worker_loop
from events.broker import Message, OffsetAndMetadata, Taken, TopicPartition
from events.errors import CaseworksError
from events.loop import (
    Answered,
    Collect,
    CommitOffsets,
    Discard,
    Loop,
    Note,
    Now,
    Operation,
    Pause,
    Resume,
    ResumedFrom,
    Revoking,
    Settled,
    Start,
    Take,
)

P0, P1 = TopicPartition("cw.tasks.a", 0), TopicPartition("cw.tasks.a", 1)
URGENT = TopicPartition("cw.tasks.a.urgent", 0)
BOUNDS = {bound.name for bound in fields(Bounds)}


def message(offset: int, source: TopicPartition = P0, **fields: Any) -> Message:
    known: dict[str, Any] = {"key": b"k", "value": b"12345", "headers": (), "epoch": 1}
    known |= {"topic": source.topic, "partition": source.partition, "offset": offset}
    return Message(**{**known, "timestamp_ms": 0, **fields})


class Stage:
    """Plays consumer and executor for one loop, and remembers what it did."""

    def __init__(self, gate: Gate = always, **config: Any) -> None:
        known = {"agent": "a", "urgent_topic": URGENT.topic, "commit_interval_s": 0.0}
        bounds = {"in_flight_max": 4} | {k: config.pop(k) for k in BOUNDS & config.keys()}
        made = WorkerConfig(**{**known, "bounds": Bounds(**bounds), **config})
        self.loop: Loop = worker_loop(made, gate)
        self.now = 1000.0
        self.assignment: dict[TopicPartition, int] = {P0: 1, P1: 1}
        self._told: dict[TopicPartition, int] = {}
        """The assignment as the loop was told last: the same object until it is another one."""
        self.lost: frozenset[TopicPartition] = frozenset()
        self.arriving: deque[Message] = deque()
        self.paused: set[TopicPartition] = set()
        self.settled: list[Settled] = []
        self.running: list[Message] = []
        self.answered = 0
        """Of those, whose answers are on their way."""
        self.revoking: frozenset[TopicPartition] = frozenset()
        self.going: frozenset[TopicPartition] = frozenset()
        """Revoked, until the loop takes again."""
        self.delivered: dict[TopicPartition, set[int]] = {P0: set(), P1: set(), URGENT: set()}
        self.finished: dict[TopicPartition, set[int]] = {P0: set(), P1: set(), URGENT: set()}
        self.refusals: list[CaseworksError] = []
        self.marks: dict[TopicPartition, OffsetAndMetadata] = {}
        """What the broker remembers of the group."""
        self.condemned: list[int] = []
        self.on_collect: Callable[[float], None] = self._pass_time
        self.log: list[Operation] = []
        self.operation: Operation = next(self.loop)

    def _pass_time(self, seconds: float) -> None:
        self.now += seconds

    def turn(self, times: int = 1) -> None:
        """Until the loop has taken or waited so often and comes to do so again."""
        for _ in range(times):
            self.step()
            while not self._at_rest():
                self.step()

    def _at_rest(self) -> bool:
        match self.operation:
            case Take():
                return True
            case Collect(timeout_s):
                return timeout_s > 0 and not self.revoking
            case _:
                return False

    def step(self) -> None:
        """Answer one operation."""
        self.log.append(self.operation)
        try:
            answer = self._answer(self.operation)
        except CaseworksError as error:
            self.operation = self.loop.throw(error)
        else:
            self.operation = self.loop.send(answer)

    def _answer(self, operation: Operation) -> Any:  # noqa: C901, PLR0912 - a table
        match operation:
            case Take(n):
                return self._taken(n)
            case Now():
                return self.now
            case Answered():
                return self.answered
            case ResumedFrom(partitions):
                return {source: self.marks.get(source) for source in partitions}
            case Start(jobs):
                self.condemned += [job.message.offset for job in jobs if job.failure]
                self.running += [job.message for job in jobs]
            case Collect(timeout_s):
                if not self.settled:
                    self.on_collect(timeout_s)
                settled, self.settled = self.settled, []
                return settled
            case CommitOffsets() if self.refusals:
                raise self.refusals.pop(0)
            case CommitOffsets(positions, metadata):
                self._check_commit(positions)
                for source, position in positions.items():
                    self.marks[source] = OffsetAndMetadata(position, metadata[source])
            case Pause(partitions):
                self.paused.update(partitions)
            case Resume(partitions):
                self.paused.difference_update(partitions)
            case Discard(partitions):
                self.running = [m for m in self.running if m.source not in partitions]
        return None

    def _check_commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """I8, at every commit of every test."""
        for source, position in positions.items():
            assert source in self.assignment or source in self.going
            below = {offset for offset in self.delivered[source] if offset < position}
            assert below <= self.finished[source], f"{source}: {position} passes {below}"

    def _taken(self, n: int) -> Taken | Revoking:
        self.going = frozenset()
        if self.revoking:
            self.going, self.revoking = self.revoking, frozenset()
            for source in self.going:
                self.lose(source)
            return Revoking(self.going)
        taken = [m for m in self.arriving if m.source not in self.paused][:n]
        for each in taken:
            self.arriving.remove(each)
        for each in taken:
            if self.assignment.get(each.source) == each.epoch:
                self.delivered[each.source].add(each.offset)
        lost, self.lost = self.lost, frozenset()
        if self._told != self.assignment:
            self._told = dict(self.assignment)
        return Taken(taken, self._told, lost)

    def arrive(self, *messages: Message) -> None:
        self.arriving += messages

    def settle(self, *offsets: int, source: TopicPartition = P0) -> None:
        for offset in offsets:
            [done] = [m for m in self.running if (m.source, m.offset) == (source, offset)]
            self.running.remove(done)
            if done.epoch == self.assignment.get(source) or source in self.going:
                self.finished[source].add(offset)
            self.settled.append(Settled(source, offset, done.epoch))

    def lose(self, source: TopicPartition) -> None:
        """It belongs to somebody else from now on."""
        self.assignment.pop(source, None)
        self.paused.discard(source)
        self.arriving = deque(m for m in self.arriving if m.source != source)

    def regain(self, source: TopicPartition, epoch: int) -> None:
        """It is assigned again; nothing of it was delivered in this epoch."""
        self.lose(source)
        self.assignment[source] = epoch
        self.delivered[source], self.finished[source] = set(), set()

    def revoke(self, *sources: TopicPartition) -> None:
        """Tell the loop at its next take that these go, and run it until it takes again."""
        self.revoking = frozenset(sources)
        while self.revoking:
            self.step()
        while not isinstance(self.operation, Take):
            self.step()

    def seen(self, *kinds: type[Operation]) -> list[Any]:
        return [operation for operation in self.log if isinstance(operation, kinds)]

    @property
    def commits(self) -> list[dict[TopicPartition, int]]:
        """Positions beyond the first that was delivered, without repetitions."""
        found: list[dict[TopicPartition, int]] = []
        last = {source: min(seen) for source, seen in self.delivered.items() if seen}
        for commit in self.seen(CommitOffsets):
            moved = {at: to for at, to in commit.positions.items() if to != last.get(at)}
            last |= moved
            if moved:
                found.append(moved)
        return found

    @property
    def positions(self) -> list[dict[TopicPartition, int]]:
        """Those of every commit, also of one that was refused, or told only what is beside."""
        return [dict(commit.positions) for commit in self.seen(CommitOffsets)]

    @property
    def notes(self) -> list[str]:
        return [note.name for note in self.seen(Note)]


def offsets(messages: Sequence[Message]) -> list[int]:
    return [each.offset for each in messages]
