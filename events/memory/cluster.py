"""The state of the modelled cluster and what the broker does by itself: expiry and markers.

Everything here is called with `lock` held. `version` grows with every change that a waiting take
may be waiting for, and `news` tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from random import Random
from threading import Condition, RLock
from typing import Protocol

from events.broker import Record, TopicPartition, TopicState
from events.memory.faults import QUIET, Dice
from events.memory.groups import Group, Member
from events.memory.journal import Journal, Moved, Wrote
from events.memory.log import PartitionLog, Transaction
from events.partitioner import partition_of
from events.topics import TopicSpec

Clock = Callable[[], float]


class Waiting(Protocol):
    """A client that waits in wall time."""

    def reads(self, log: PartitionLog) -> bool:
        """Whether what comes there may be for it."""

    def stirs(self) -> bool:
        """Whether something came that is for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The broker's and clients' settings, with Kafka's names in brackets."""

    transaction_timeout_s: float = 10.0
    """`transaction.timeout.ms`"""
    transaction_check_s: float = 10.0
    """How often the broker looks for them
    (`transaction.abort.timed.out.transaction.cleanup.interval.ms`)."""
    poll_interval_s: float = 300.0
    """`max.poll.interval.ms`: a member that does not take for so long is given up."""
    message_bytes_max: int = 1_048_588
    """`max.message.bytes` of topics that do not say it."""
    queue_max: int = 100_000
    """`queue.buffering.max.messages` of a producer without transactions."""


@dataclass(slots=True)
class TransactionalId:
    """The broker's memory of a transactional id: its epoch fences older producers."""

    name: str
    epoch: int = -1
    current: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of a transaction on its way to one partition or one group's offsets."""

    transaction: Transaction
    target: PartitionLog | Group

    def __str__(self) -> str:
        """Where it goes, and what it says."""
        end = "commit" if self.transaction.committed else "abort"
        at = (
            f"group {self.target.name}"
            if isinstance(self.target, Group)
            else f"{self.target.source.topic}/{self.target.source.partition}"
        )
        return f"{end} of {self.transaction.transactional_id} to {at}"


@dataclass(slots=True)
class Topic:
    """A topic and its partitions."""

    state: TopicState
    logs: list[PartitionLog] = field(default_factory=list)


class Cluster:
    """One modelled cluster."""

    def __init__(self, clock: Clock, *, waits: bool, dice: Dice | None, limits: Limits) -> None:
        """*waits*: takes wait in wall time; without, they return at once."""
        self.clock = clock
        self.waits = waits
        self.limits = limits
        self.dice = dice or Dice(Random(0), QUIET)
        self.lock = RLock()
        self.news = Condition(self.lock)
        """For those who wait in wall time."""
        self.topics: dict[str, Topic] = {}
        self.partitions: dict[str, int] = {}
        self.groups: dict[str, Group] = {}
        self.ids: dict[str, TransactionalId] = {}
        self.markers: list[Marker] = []
        """Decided, not yet written; empty unless held back."""
        self.hold_markers = False
        self.journal: Journal | None = None
        """Keeps what arrives, when somebody wants to look at it afterwards."""
        self.airborne = 0
        """Records and reports of plain producers that are on their way."""
        self.waiting: dict[Waiting, None] = {}
        """Who waits for a change, in wall time."""
        self.version = 0
        self.deadline = inf
        """The earliest moment at which something expires."""

    def changed(self) -> None:
        """Tell whoever waits."""
        self.version += 1
        if self.waits:
            self.news.notify_all()

    def arrived(self, log: PartitionLog) -> None:
        """A record came: wake those who wait if it is for one of them."""
        self.version += 1
        for who in self.waiting:
            if who.reads(log) and who.stirs():
                self.news.notify_all()
                return

    def wait(self, who: Waiting, seconds: float) -> None:
        """Wait until something changed that is for *who*, at most so long."""
        self.waiting[who] = None
        try:
            self.news.wait(seconds)
        finally:
            del self.waiting[who]

    # --- topics

    def create(self, specs: Iterable[TopicSpec]) -> tuple[str, ...]:
        """Make missing topics; groups that subscribe to them rebalance."""
        made = [spec for spec in specs if spec.name not in self.topics]
        for spec in made:
            bytes_max = int(spec.config.get("max.message.bytes", self.limits.message_bytes_max))
            logs = [
                PartitionLog(TopicPartition(spec.name, p), bytes_max)
                for p in range(spec.partitions)
            ]
            state = TopicState(spec.name, spec.partitions, dict(spec.config))
            self.topics[spec.name] = Topic(state, logs)
            self.partitions[spec.name] = spec.partitions
        names = {spec.name for spec in made}
        for group in self.groups.values():
            if any(names.intersection(m.spec.topics) for m in group.members.values()):
                group.rebalance()
        if made:
            self.changed()
        return tuple(spec.name for spec in made)

    def log(self, source: TopicPartition) -> PartitionLog | None:
        """The partition, if there is one."""
        topic = self.topics.get(source.topic)
        if topic is None or not 0 <= source.partition < len(topic.logs):
            return None
        return topic.logs[source.partition]

    def log_for(self, record: Record) -> PartitionLog | None:
        """Where a record goes: its partition, its key's, or for no key any."""
        topic = self.topics.get(record.topic)
        if topic is None:
            return None
        if (at := record.partition) is not None:
            return topic.logs[at] if 0 <= at < len(topic.logs) else None
        if record.key is None:
            return topic.logs[self.dice.pick(len(topic.logs))]
        return topic.logs[partition_of(record.key, len(topic.logs))]

    def group(self, name: str) -> Group:
        """The group; it begins with its first mention."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name, self.partitions)
        return group

    def append(
        self, log: PartitionLog, record: Record, transaction: Transaction | None = None
    ) -> int:
        """Write a record and return its offset."""
        offset = log.append(record, int(self.clock() * 1000), transaction)
        if self.journal is not None and log.newest is not None:
            self.journal.entries.append(Wrote(log.newest, transaction))
        return offset

    def move(
        self,
        group: Group,
        member: str,
        positions: Mapping[TopicPartition, int],
        transaction: Transaction | None = None,
        *,
        metadata: Mapping[TopicPartition, str] | None = None,
    ) -> None:
        """Commit positions of a group, or let them wait for the transaction's end."""
        if transaction is None:
            group.offsets.write(positions, metadata or {})
        else:
            group.offsets.write_pending(transaction, positions)
        if self.journal is not None:
            owned = group.owned(member)
            strays = tuple(tp for tp in positions if tp not in owned)
            moved = Moved(group.name, member, dict(positions), strays, transaction)
            self.journal.entries.append(moved)

    # --- transactions

    def begin(self, transactional_id: str) -> Transaction:
        """A transaction whose time runs from now on."""
        every = self.limits.transaction_check_s
        expires = ceil((self.clock() + self.limits.transaction_timeout_s) / every) * every
        transaction = Transaction(transactional_id, expires)
        self.deadline = min(self.deadline, expires)
        return transaction

    def decide(self, transaction: Transaction, *, commit: bool) -> None:
        """The transaction is over; its markers set out."""
        transaction.committed = commit
        targets: list[PartitionLog | Group] = [*map(self.group, transaction.groups)]
        targets += transaction.logs
        held = [
            target for target in targets if self.hold_markers or self.dice.weather("late_marker")
        ]
        for target in targets:
            marker = Marker(transaction, target)
            if target in held:
                self.markers.append(marker)
            else:
                self.write(marker)

    def write(self, marker: Marker) -> None:
        """The marker arrives."""
        target = marker.target
        if isinstance(target, Group):
            target.offsets.mark(marker.transaction)
        else:
            target.mark(marker.transaction)
        self.changed()

    def finish(self, owner: TransactionalId) -> None:
        """Abort what is open under this id and wait for its last marker."""
        if (current := owner.current) is None:
            return
        if current.committed is None:
            self.decide(current, commit=False)
        self.settle(current)
        owner.current = None

    def settle(self, transaction: Transaction | None = None) -> None:
        """Write all held markers, of one transaction or of all."""
        due = [m for m in self.markers if transaction is None or m.transaction is transaction]
        if due:
            self.markers = [m for m in self.markers if m not in due]
        for marker in due:
            self.write(marker)

    # --- time

    def tick(self) -> None:
        """Give up what has expired by now."""
        now = self.clock()
        if now < self.deadline:
            return
        for owner in self.ids.values():
            current = owner.current
            if current is not None and current.committed is None and now >= current.expires:
                self.time_out(owner)
        interval = self.limits.poll_interval_s
        for group in self.groups.values():
            for member in list(group.members.values()):
                if now >= member.expires_at(interval):
                    self.expire(group, member)
        self.deadline = min(self._deadlines(), default=inf)

    def time_out(self, owner: TransactionalId) -> None:
        """Abort the open transaction of this id and fence its producer."""
        if owner.current is not None and owner.current.committed is None:
            owner.epoch += 1
            self.decide(owner.current, commit=False)

    def expire(self, group: Group, member: Member) -> None:
        """Give a member up; it learns at its next take, if it lives."""
        group.remove(member)
        self.changed()

    def watch(self, member: Member) -> None:
        """Let the next tick come in time for this member."""
        self.deadline = min(self.deadline, member.expires_at(self.limits.poll_interval_s))

    def _deadlines(self) -> Iterable[float]:
        for owner in self.ids.values():
            if owner.current is not None and owner.current.committed is None:
                yield owner.current.expires
        for group in self.groups.values():
            for member in group.members.values():
                yield member.expires_at(self.limits.poll_interval_s)
