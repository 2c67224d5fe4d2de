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

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from agents.backlog import Backlog, Bounds, Place
from agents.commits import Commits, Step, names
from agents.errors import WorkerStuckError
from agents.limits.fleet import Standing
from agents.limits.gate import Gate, always
from agents.limits.pace import Pace
from agents.owned import Owned
from agents.recovery import CRASH_LOOP, STARTS_MAX, Recovery
from events.broker import Assignment, Message, Taken, TopicPartition
from events.loop import (
    Answered,
    Collect,
    Discard,
    Job,
    Loop,
    Note,
    Now,
    Pause,
    Resume,
    Revoking,
    Settled,
    Start,
    Take,
)
from events.settings import Settings
from schemas.agent import AgentSpec

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
    starts_max: int = STARTS_MAX
    """The start of this number is not made, but answered as a crash loop."""

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
            starts_max=settings.starts_max,
        )


def worker_loop(config: WorkerConfig, gate: Gate = always) -> Loop:
    """The loop; its consumer subscribes to both lanes of the agent.

    *gate* says whether tasks start: as they come, at the pace of before an outage, one at a time,
    or not at all. Then its partitions are paused, and all but what was read waits in Kafka.
    """
    return _Worker(config, gate).run()


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
        self.partitions: dict[TopicPartition, Owned] = {}
        self.assignment: Assignment | None = None
        """What `partitions` follow: mostly the very object that the next take brings again."""
        self.backlog = Backlog(config.bounds, config.urgent_topic, ordered=config.ordered)
        self.recovery = Recovery(config.starts_max)
        self.commits = Commits(config.agent, self.partitions, self.recovery)
        self.unannounced: list[tuple[Place, Message]] = []
        """Their turn has come, but they are above the reach."""
        self.paused: set[TopicPartition] = set()
        self.commit_at = 0.0
        self.told = (0, 0, 0)

    def run(self) -> Loop:
        try:
            while True:
                yield from self._turn()
        except WorkerStuckError as error:
            # Whoever was in flight besides is as innocent as after a stop.
            yield from self.commits.write(self.partitions, orderly=error.answered)
            raise

    def _turn(self) -> Step:
        self.standing = self.pace.standing(self.gate(), self.now)
        room = 0 if self.standing == "shut" else self.backlog.room
        # What waits starts when something is settled: then wait for that instead.
        patient = room > 0 and not (self.backlog.waiting or self.recovery.waiting)
        yield from self._take(max(room, 1), self.config.take_timeout_s if patient else 0.0)
        if self.recovery.waiting:
            yield from self._recover()
        yield from self._start()
        # Where tasks come there may be more: a flood is read at once, to see what is behind it.
        prompt = room > 0 and (
            bool(self.came) or not (self.backlog.waiting or self.recovery.waiting)
        )
        settled = yield Collect(0.0 if prompt else self.config.take_timeout_s)
        self._settle(settled)
        now: float = yield Now()
        self.now = now
        if self.standing == "free":
            self.pace.free(self.started, now)
        self.started = 0
        if now >= self.commit_at:
            self.commit_at = now + self.config.commit_interval_s
            yield from self.commits.write(self.partitions)
            yield from self._tell()
        yield from self._balance()

    # --- taking

    def _take(self, n: int, timeout_s: float) -> Step:
        answer: Taken | Revoking = yield Take(n, timeout_s)
        while isinstance(answer, Revoking):
            yield from self._revoke(answer.partitions)
            answer = yield Take(n, timeout_s)
        if answer.assignment is not self.assignment:
            yield from self._assign(answer)
        if self.commits.unknown:
            yield from self.commits.ask()
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
            yield Note("lost", {"agent": self.config.agent, "partitions": names(gone)})
            self.commits.lose(gone)
            yield from self._drop(gone)
        new = [source for source in taken.assignment if source not in self.partitions]
        for source in new:
            self.partitions[source] = Owned(taken.assignment[source])
        self.commits.unknown.update(new)
        again = self.paused.intersection(new)
        if again:
            # Whether a client remembers the pause over an assignment is the client's secret.
            self.paused -= again
            yield Resume(tuple(sorted(again)))
        self.assignment = taken.assignment

    def _accept(self, messages: Sequence[Message]) -> None:
        source: TopicPartition | None = None
        partition: Owned | None = None
        for message in messages:
            if source != message[:2]:  # they come partition by partition
                source = message.source
                partition = self.partitions.get(source)
            if source is None or partition is None or partition.epoch != message.epoch:
                continue  # not ours: it is delivered again to whom it belongs
            if not partition.ledger.observe(message.offset, message.timestamp_ms):
                continue  # delivered twice in one epoch: it is in flight or finished
            if partition.past is not None and self.commits.recall(partition, message):
                continue
            self.backlog.put(source, message)

    # --- after another owner, or a life before

    def _recover(self) -> Step:
        """Start who is next of those that may have killed a worker: counted, before they do."""
        now: float = yield Now()
        room = min(self._allowed(), self.config.bounds.in_flight_max - len(self.backlog.running))
        unread = sum(held.suspects_unread for held in self.partitions.values())
        due = self.recovery.due(now, room, unread)
        group = list(takewhile(lambda each: self.backlog.admit(each.place, each.message), due))
        if not group:
            return
        self.recovery.begin(group, now)
        told = {"agent": self.config.agent, "suspects": len(group)}
        sources = {source for source, _ in self.recovery.out}
        if not (yield from self.commits.write(sources, sources)):
            for each in group:
                self._end(each.place)
            self.recovery.take_back(group)
            return
        for each in group:
            self.partitions[each.place[0]].running += 1
        self._count([each.place for each in group])
        yield Note("suspects_started", told | {"condemned": sum(s.condemned for s in group)})
        yield Start([Job(s.message, CRASH_LOOP if s.condemned else "") for s in group])

    # --- starting and settling

    def _start(self) -> Step:
        answered: int = (yield Answered()) if self.backlog.crowded else 0
        tasks = self.backlog.start(self._allowed(), answered)
        self._count([place for place, _ in tasks])
        if self.unannounced:
            tasks, self.unannounced = [*self.unannounced, *tasks], []
        if not tasks:
            return
        above: set[TopicPartition] = set()
        for (source, offset), _ in tasks:
            partition = self.partitions[source]
            partition.running += 1
            if offset >= partition.top:
                partition.top = offset + 1
            if offset >= partition.reach:
                above.add(source)
        if above and not (yield from self.commits.write(self.partitions, above)):
            self.unannounced = tasks
            for (source, _), _ in tasks:
                self.partitions[source].running -= 1
            return
        yield Start([Job(message) for _, message in tasks])

    def _count(self, places: Sequence[Place]) -> None:
        """These start, as far as the gate is concerned."""
        self.started += len(places)
        if self.standing == "slow":
            self.pace.spend(len(places))
        elif self.standing == "single":
            self.singles.update(places)

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
                place = (each.source, each.offset)
                self._end(place)
                if self.recovery.out:
                    for message in self.recovery.settled(place):
                        self.backlog.put(each.source, message)

    def _end(self, place: Place) -> None:
        """A task no longer runs."""
        self.backlog.end(place)
        self.singles.discard(place)

    # --- committing

    def _tell(self) -> Step:
        yield from self.commits.remarks
        self.commits.remarks.clear()
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
            if self._too_far(source)
            or shut
            or self.backlog.holds(source)
            or self.recovery.holds(source)
        }
        pause = wanted - self.paused
        resume = self.paused.intersection(self.partitions) - wanted
        self.paused = (self.paused | pause) - resume
        if pause:
            yield Note("paused", {"agent": self.config.agent, "partitions": names(pause)})
            yield Pause(tuple(sorted(pause)))
        if resume:
            yield Note("resumed", {"agent": self.config.agent, "partitions": names(resume)})
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
        self.assignment = None  # whatever comes next is to be looked at
        self._unqueue(going)
        now: float = yield Now()
        until = now + self.config.drain_timeout_s
        while now < until and any(self.partitions[source].running for source in going):
            before = now
            settled = yield Collect(min(self.config.take_timeout_s, until - now))
            self._settle(settled)
            now = yield Now()
            if not settled and now <= before:
                break  # a clock that stands still while partitions go: nothing more will come
        yield from self.commits.write(going, tries=COMMIT_TRIES, orderly=True)
        left = sum(self.partitions[source].running for source in going)
        yield Note(
            "revoked",
            {"agent": self.config.agent, "partitions": names(going), "still_running": left},
        )
        yield from self._drop(going)

    def _unqueue(self, going: Sequence[TopicPartition]) -> None:
        """Forget what was not started; it ends its run in the backlog with its partition."""
        self.backlog.drop(going)
        self.unannounced = [task for task in self.unannounced if task[0][0] not in going]

    def _drop(self, gone: Sequence[TopicPartition]) -> Step:
        """Forget partitions; what ran on them makes room for what waits."""
        if not gone:
            return
        self._unqueue(gone)
        self.recovery.drop(gone)
        self.commits.unknown.difference_update(gone)
        for place in [place for place in self.backlog.running if place[0] in gone]:
            self._end(place)
        for source in gone:
            del self.partitions[source]
        yield Discard(frozenset(gone))
