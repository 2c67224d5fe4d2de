"""The worker loop of one agent: takes tasks, hands them to the executor, commits what is settled.

At least once: an offset is finished when the outcome (or dead letter) of its task is acknowledged,
and a commit never passes an unfinished one (I8). Everything in flight is bounded; the loop takes
less rather than pausing, because pausing throws prefetched records away. Before partitions go, it
stops starting their tasks, waits for those that run, within a budget, commits those partitions
alone and discards the rest. For partitions that are lost nothing is committed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.errors import WorkerStuckError
from agents.limits.fleet import Standing
from agents.limits.gate import Gate, always
from agents.limits.pace import Pace
from events.broker import Message, Taken, TopicPartition
from events.errors import FencedError, RetriableError, UnstableError
from events.lanes import Lanes
from events.ledger import Ledger
from events.loop import (
    Collect,
    CommitOffsets,
    Discard,
    Job,
    Loop,
    Note,
    Now,
    Operation,
    Pause,
    Resume,
    Revoking,
    Settled,
    Start,
    Take,
)
from events.settings import Settings
from schemas.agent import AgentSpec

Step = Generator[Operation, Any, None]

COMMIT_TRIES = 3
"""Tries of the last commit before partitions go."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The bounds of one agent's worker loop."""

    agent: str
    in_flight_max: int = 64
    """Tasks that are taken and not settled."""
    in_flight_bytes_max: int = 67_108_864
    span_max: int = 10_000
    """How far a partition is read ahead of its oldest unfinished task."""
    ordered: bool = False
    """Tasks with the same key run one after another."""
    commit_interval_s: float = 0.2
    drain_timeout_s: float = 5.0
    take_timeout_s: float = 0.05
    pause_after_s: float = 1.0
    """Full for so long, it pauses its partitions and goes on serving rebalances."""

    @classmethod
    def of(cls, spec: AgentSpec, settings: Settings) -> WorkerConfig:
        """The smaller of the agent's bounds and the process's."""
        return cls(
            agent=spec.name,
            in_flight_max=min(spec.in_flight_max, settings.in_flight_max),
            in_flight_bytes_max=settings.in_flight_bytes_max,
            span_max=settings.span_max,
            ordered=spec.order_by is not None,
            commit_interval_s=settings.commit_interval_s,
            drain_timeout_s=settings.drain_timeout_s,
            take_timeout_s=settings.take_timeout_s,
        )


def worker_loop(config: WorkerConfig, gate: Gate = always) -> Loop:
    """The loop; its consumer subscribes to both lanes of the agent.

    *gate* says whether tasks are taken: as they come, at the pace of before an outage, one at a
    time, or not at all. Then its partitions are paused, and what waits does so in Kafka.
    """
    return _Worker(config, gate).run()


@dataclass(slots=True)
class _Partition:
    """One partition in one epoch of its assignment."""

    epoch: int
    ledger: Ledger = field(default_factory=Ledger)
    running: int = 0
    too_far: bool = False


class _Worker:
    def __init__(self, config: WorkerConfig, gate: Gate) -> None:
        self.config = config
        self.gate = gate
        self.standing: Standing = "free"
        self.pace = Pace()
        self.singles: set[tuple[TopicPartition, int]] = set()
        """Taken one at a time, and not settled."""
        self.now = 0.0
        self.accepted = 0
        """Taken in this turn."""
        self.partitions: dict[TopicPartition, _Partition] = {}
        self.held: dict[tuple[TopicPartition, int], Message] = {}
        """Taken and not settled, waiting in lanes included."""
        self.held_bytes = 0
        self.largest = 1
        self.lanes: Lanes[Message] = Lanes()
        self.paused: set[TopicPartition] = set()
        self.full_since: float | None = None
        self.stalled = False
        self.commit_at = 0.0
        self.told = 0

    def run(self) -> Loop:
        try:
            while True:
                yield from self._turn()
        except WorkerStuckError:
            yield from self._commit(self.partitions)
            raise

    def _turn(self) -> Step:
        self.standing = self.gate()
        room, waiting = self._room(), self.lanes.waiting > 0
        if room > 0 or self.stalled or not self.partitions:
            # What waits in a lane starts when something is settled: then wait for that instead.
            wait_s = 0.0 if waiting or self.stalled else self.config.take_timeout_s
            yield from self._take(max(room, 1), wait_s)
        full = self._room() <= 0
        settled = yield Collect(self.config.take_timeout_s if full or waiting else 0.0)
        yield from self._settle(settled)
        now: float = yield Now()
        self.now = now
        if self.standing == "free":
            self.pace.free(self.accepted, now)
        self.accepted = 0
        if now >= self.commit_at:
            self.commit_at = now + self.config.commit_interval_s
            yield from self._commit(self.partitions)
            yield from self._tell()
        yield from self._balance(now)

    # --- taking

    def _room(self) -> int:
        config = self.config
        bytes_left = config.in_flight_bytes_max - self.held_bytes
        if bytes_left <= 0:
            return 0
        room = min(config.in_flight_max - len(self.held), max(bytes_left // self.largest, 1))
        match self.standing:
            case "free":
                return room
            case "slow":
                return min(room, self.pace.allowed(self.now))
            case "single":
                return min(room, 1 - len(self.singles))
            case "shut":
                return 0

    def _take(self, n: int, timeout_s: float) -> Step:
        answer: Taken | Revoking = yield Take(n, timeout_s)
        while isinstance(answer, Revoking):
            yield from self._revoke(answer.partitions)
            answer = yield Take(n, timeout_s)
        yield from self._assign(answer)
        yield from self._accept(answer.messages)

    def _assign(self, taken: Taken) -> Step:
        """State belongs to an epoch: a partition that was lost and regained starts anew."""
        gone = [
            source
            for source, held in self.partitions.items()
            if taken.assignment.get(source) != held.epoch
        ]
        if gone:
            yield Note("lost", {"agent": self.config.agent, "partitions": _names(gone)})
            yield from self._drop(gone)
        new = [source for source in taken.assignment if source not in self.partitions]
        for source in new:
            self.partitions[source] = _Partition(taken.assignment[source])
        again = self.paused.intersection(new)
        if again:
            # Whether a client remembers the pause over an assignment is the client's secret.
            self.paused -= again
            yield Resume(tuple(sorted(again)))

    def _accept(self, messages: Sequence[Message]) -> Step:
        jobs = []
        for message in messages:
            source = message.source
            partition = self.partitions.get(source)
            if partition is None or partition.epoch != message.epoch:
                continue  # not ours: it is delivered again to whom it belongs
            if not partition.ledger.observe(message.offset):
                continue  # delivered twice in one epoch: it is in flight or finished
            size = len(message.value or b"")
            self.accepted += 1
            if self.standing == "single":
                self.singles.add((source, message.offset))
            self.held[source, message.offset] = message
            self.held_bytes += size
            self.largest = max(self.largest, size)
            if not self.config.ordered or self.lanes.enter(message.key, message):
                partition.running += 1
                jobs.append(Job(message))
        if self.standing == "slow":
            self.pace.spend(self.accepted)
        if jobs:
            yield Start(jobs)

    def _settle(self, settled: Sequence[Settled]) -> Step:
        jobs = []
        for each in settled:
            partition = self.partitions.get(each.source)
            if partition is None or partition.epoch != each.epoch:
                continue  # settled after its partition went: whoever owns it runs it again
            if partition.ledger.finish(each.offset):
                partition.running -= 1
                jobs += self._release((each.source, each.offset))
        if jobs:
            yield Start(jobs)

    def _release(self, place: tuple[TopicPartition, int]) -> list[Job]:
        """A task no longer runs; returns the next of its lane."""
        message = self.held.pop(place)
        self.singles.discard(place)
        self.held_bytes -= len(message.value or b"")
        following = self.lanes.leave(message.key) if self.config.ordered else None
        if following is None:
            return []
        self.partitions[following.source].running += 1
        return [Job(following)]

    # --- committing

    def _commit(self, sources: Iterable[TopicPartition], tries: int = 1) -> Step:
        """Commit what moved. A refusal changes nothing: the next commit says the same or more."""
        due = {
            source: position
            for source in sources
            if (position := self.partitions[source].ledger.due) is not None
        }
        for _ in range(tries if due else 0):
            try:
                yield CommitOffsets(due)
            except (RetriableError, UnstableError, FencedError) as error:
                yield Note("commit_refused", {"agent": self.config.agent, "error": str(error)})
                if isinstance(error, FencedError):
                    return
            else:
                for source, position in due.items():
                    self.partitions[source].ledger.committed = position
                return

    def _tell(self) -> Step:
        held = len(self.held)
        if held != self.told:
            self.told = held
            yield Note("in_flight", {"agent": self.config.agent, "in_flight": held})

    # --- bounds

    def _balance(self, now: float) -> Step:
        """Pause what may not run further ahead, resume what may; with hysteresis."""
        if self.standing == "shut":
            self.full_since, self.stalled = now, True
        elif self._room() > 0:
            self.full_since, self.stalled = None, False
        elif self.full_since is None:
            self.full_since = now
        else:
            self.stalled = now - self.full_since >= self.config.pause_after_s
        wanted = {source for source in self.partitions if self._too_far(source) or self.stalled}
        pause = wanted - self.paused
        resume = self.paused.intersection(self.partitions) - wanted
        self.paused = (self.paused | pause) - resume
        if pause:
            yield Note("paused", {"agent": self.config.agent, "partitions": _names(pause)})
            yield Pause(tuple(sorted(pause)))
        if resume:
            yield Note("resumed", {"agent": self.config.agent, "partitions": _names(resume)})
            yield Resume(tuple(sorted(resume)))

    def _too_far(self, source: TopicPartition) -> bool:
        partition, limit = self.partitions[source], self.config.span_max
        floor = limit // 2 if partition.too_far else limit
        partition.too_far = partition.ledger.span > floor
        return partition.too_far

    # --- partitions that go

    def _revoke(self, partitions: frozenset[TopicPartition]) -> Step:
        """Drain within the budget, commit these partitions alone, and let go of them."""
        going = [source for source in self.partitions if source in partitions]
        self._unqueue(going)
        now: float = yield Now()
        until = now + self.config.drain_timeout_s
        while now < until and any(self.partitions[source].running for source in going):
            before = now
            settled = yield Collect(min(self.config.take_timeout_s, until - now))
            yield from self._settle(settled)
            now = yield Now()
            if not settled and now <= before:
                break  # a clock that stands still while partitions go: nothing more will come
        yield from self._commit(going, COMMIT_TRIES)
        left = sum(self.partitions[source].running for source in going)
        yield Note(
            "revoked",
            {"agent": self.config.agent, "partitions": _names(going), "still_running": left},
        )
        yield from self._drop(going)

    def _unqueue(self, going: Sequence[TopicPartition]) -> None:
        """Forget what waits in lanes and was not started."""
        for message in self.lanes.drop(lambda waiting: waiting.source in going):
            del self.held[message.source, message.offset]
            self.singles.discard((message.source, message.offset))
            self.held_bytes -= len(message.value or b"")

    def _drop(self, gone: Sequence[TopicPartition]) -> Step:
        """Forget partitions; what ran on them makes room for the next of its lane."""
        if not gone:
            return
        self._unqueue(gone)
        jobs: list[Job] = []
        for place in [place for place in self.held if place[0] in gone]:
            jobs += self._release(place)
        for source in gone:
            del self.partitions[source]
        yield Discard(frozenset(gone))
        if jobs:
            yield Start(jobs)


def _names(sources: Iterable[TopicPartition]) -> list[str]:
    return [f"{topic}/{partition}" for topic, partition in sorted(sources)]
