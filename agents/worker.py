"""The worker loop of one agent: takes tasks, hands them to the executor, commits what is settled.

At least once: an offset is finished when the outcome (or dead letter) of its task is acknowledged,
and a commit never passes an unfinished one (I8). Tasks are read ahead of what can run, and start
when it is their turn (`agents.backlog`). Everything is bounded; partitions whose tasks may not be
read any further are paused, which throws away what the client fetched of them: with hysteresis, so
that it happens once in thousands of tasks. Urgent ones keep coming meanwhile, and so do
rebalances. Before partitions go, it
stops starting their tasks, waits for those that run, within a budget, commits those partitions
alone and discards the rest. For partitions that are lost nothing is committed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.backlog import Backlog, Bounds, Place
from agents.errors import WorkerStuckError
from agents.limits.fleet import Standing
from agents.limits.gate import Gate, always
from agents.limits.pace import Pace
from events.broker import Message, Taken, TopicPartition
from events.errors import FencedError, RetriableError, UnstableError
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
    bounds: Bounds = field(default_factory=Bounds)
    urgent_topic: str = ""
    """The topic of its urgent lane."""
    span_max: int = 100_000
    """How far a partition is read ahead of its oldest unfinished task."""
    ordered: bool = False
    """Tasks with the same key run one after another."""
    commit_interval_s: float = 0.2
    drain_timeout_s: float = 5.0
    take_timeout_s: float = 0.05

    @classmethod
    def of(cls, spec: AgentSpec, settings: Settings) -> WorkerConfig:
        """The smaller of the agent's bounds and the process's."""
        return cls(
            agent=spec.name,
            bounds=Bounds(
                in_flight_max=min(spec.in_flight_max, settings.in_flight_max),
                in_flight_bytes_max=settings.in_flight_bytes_max,
                normal_share=settings.normal_share,
                read_ahead_max=settings.read_ahead_max,
                read_ahead_bytes_max=settings.read_ahead_bytes_max,
                key_depth_max=settings.key_depth_max,
            ),
            urgent_topic=settings.topics.tasks(spec.name, "urgent"),
            span_max=settings.span_max,
            ordered=spec.order_by is not None,
            commit_interval_s=settings.commit_interval_s,
            drain_timeout_s=settings.drain_timeout_s,
            take_timeout_s=settings.take_timeout_s,
        )


def worker_loop(config: WorkerConfig, gate: Gate = always) -> Loop:
    """The loop; its consumer subscribes to both lanes of the agent.

    *gate* says whether tasks start: as they come, at the pace of before an outage, one at a time,
    or not at all. Then its partitions are paused, and all but what was read waits in Kafka.
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
        self.singles: set[Place] = set()
        """Started one at a time, and not settled."""
        self.now = 0.0
        self.started = 0
        """In this turn."""
        self.came = 0
        """With the last take."""
        self.partitions: dict[TopicPartition, _Partition] = {}
        self.backlog = Backlog(config.bounds, config.urgent_topic, ordered=config.ordered)
        self.paused: set[TopicPartition] = set()
        self.commit_at = 0.0
        self.told = (0, 0, 0)

    def run(self) -> Loop:
        try:
            while True:
                yield from self._turn()
        except WorkerStuckError:
            yield from self._commit(self.partitions)
            raise

    def _turn(self) -> Step:
        self.standing = self.gate()
        room = 0 if self.standing == "shut" else self.backlog.room
        # What waits starts when something is settled: then wait for that instead.
        patient = room > 0 and not self.backlog.waiting
        yield from self._take(max(room, 1), self.config.take_timeout_s if patient else 0.0)
        yield from self._start()
        # Where tasks come there may be more: a flood is read at once, to see what is behind it.
        prompt = room > 0 and (bool(self.came) or not self.backlog.waiting)
        settled = yield Collect(0.0 if prompt else self.config.take_timeout_s)
        self._settle(settled)
        now: float = yield Now()
        self.now = now
        if self.standing == "free":
            self.pace.free(self.started, now)
        self.started = 0
        if now >= self.commit_at:
            self.commit_at = now + self.config.commit_interval_s
            yield from self._commit(self.partitions)
            yield from self._tell()
        yield from self._balance()

    # --- taking

    def _take(self, n: int, timeout_s: float) -> Step:
        answer: Taken | Revoking = yield Take(n, timeout_s)
        while isinstance(answer, Revoking):
            yield from self._revoke(answer.partitions)
            answer = yield Take(n, timeout_s)
        yield from self._assign(answer)
        self.came = len(answer.messages)
        self._accept(answer.messages)

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

    def _accept(self, messages: Sequence[Message]) -> None:
        for message in messages:
            source = message.source
            partition = self.partitions.get(source)
            if partition is None or partition.epoch != message.epoch:
                continue  # not ours: it is delivered again to whom it belongs
            if not partition.ledger.observe(message.offset):
                continue  # delivered twice in one epoch: it is in flight or finished
            self.backlog.put(source, message)

    # --- starting and settling

    def _start(self) -> Step:
        tasks = self.backlog.start(self._allowed())
        if not tasks:
            return
        for (source, _), _ in tasks:
            self.partitions[source].running += 1
        self.started += len(tasks)
        if self.standing == "slow":
            self.pace.spend(len(tasks))
        elif self.standing == "single":
            self.singles.update(place for place, _ in tasks)
        yield Start([Job(message) for _, message in tasks])

    def _allowed(self) -> int:
        """How many tasks the gate lets through."""
        match self.standing:
            case "free":
                return self.config.bounds.in_flight_max
            case "slow":
                return self.pace.allowed(self.now)
            case "single":
                return 1 - len(self.singles)
            case "shut":
                return 0

    def _settle(self, settled: Sequence[Settled]) -> None:
        """Make room. What waits starts after the next take, which may bring what is urgent."""
        for each in settled:
            partition = self.partitions.get(each.source)
            if partition is None or partition.epoch != each.epoch:
                continue  # settled after its partition went: whoever owns it runs it again
            if partition.ledger.finish(each.offset):
                partition.running -= 1
                self._end((each.source, each.offset))

    def _end(self, place: Place) -> None:
        """A task no longer runs."""
        self.backlog.end(place)
        self.singles.discard(place)

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
        backlog = self.backlog
        told = (len(backlog.running), backlog.normal.waiting, backlog.urgent.waiting)
        if told != self.told:
            self.told = told
            fields = dict(zip(("in_flight", "normal", "urgent"), told, strict=True))
            yield Note("in_flight", {"agent": self.config.agent, **fields})

    # --- bounds

    def _balance(self) -> Step:
        """Pause what may not be read any further, resume what may; with hysteresis."""
        shut = self.standing == "shut"
        wanted = {
            source
            for source in self.partitions
            if self._too_far(source) or shut or self.backlog.holds(source)
        }
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
        self.backlog.drop(going)
        now: float = yield Now()
        until = now + self.config.drain_timeout_s
        while now < until and any(self.partitions[source].running for source in going):
            before = now
            settled = yield Collect(min(self.config.take_timeout_s, until - now))
            self._settle(settled)
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

    def _drop(self, gone: Sequence[TopicPartition]) -> Step:
        """Forget partitions; what ran on them makes room for what waits."""
        if not gone:
            return
        self.backlog.drop(gone)
        for place in [place for place in self.backlog.running if place[0] in gone]:
            self._end(place)
        for source in gone:
            del self.partitions[source]
        yield Discard(frozenset(gone))


def _names(sources: Iterable[TopicPartition]) -> list[str]:
    return [f"{topic}/{partition}" for topic, partition in sorted(sources)]
