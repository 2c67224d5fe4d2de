"""A consumer group as its coordinator on the broker sees it: members, generations, offsets.

The classic protocol with eager rebalances, range assignor:

    empty --join--> preparing --every member rejoined--> stable --join, leave, expiry--> preparing

While *preparing*, members still own what they had until they rejoin, and may commit. What commits
are checked for is the member and its generation, never who owns the partition: as in Kafka.
A static member is known by its instance name. A new process under a known name takes the old
one's place and assignment at once, without a rebalance; the old one is fenced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from events.broker import ConsumerSpec, OffsetAndMetadata, TopicPartition
from events.memory.log import Transaction


class Membership(NamedTuple):
    """What fences a commit. Generation -1 without a member id is fenced by nothing."""

    group: str
    member_id: str = ""
    instance: str | None = None
    generation: int = -1


@dataclass(slots=True, eq=False)
class Member:
    """A member; `silent_since` is set when no process heartbeats for it any more."""

    id: str
    spec: ConsumerSpec
    polled_at: float
    silent_since: float | None = None
    joined: bool = True
    """Has it rejoined since the rebalance began?"""
    generation: int = -1
    """The last generation it learned its assignment of."""

    def expires_at(self, poll_interval_s: float) -> float:
        """When the broker gives it up."""
        if self.silent_since is not None:
            return self.silent_since + self.spec.session_timeout_s
        return self.polled_at + poll_interval_s


@dataclass(slots=True)
class Offsets:
    """A group's committed positions; the newest write wins, in the order they were sent."""

    settled: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)
    """(number of the write, position)"""
    texts: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)
    """(number of the write, metadata): of the last write that had some."""
    pending: dict[Transaction, dict[TopicPartition, tuple[int, int]]] = field(default_factory=dict)
    """Of transactions whose marker has not arrived here."""
    writers: dict[TopicPartition, str] = field(default_factory=dict)
    """Whose transaction moved a position last."""
    _writes: count[int] = field(default_factory=count)

    def write(
        self,
        positions: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str] = MappingProxyType({}),
    ) -> None:
        """Commit without a transaction."""
        number = next(self._writes)
        self.texts.update({tp: (number, text) for tp, text in metadata.items()})
        self.settled.update({tp: (number, position) for tp, position in positions.items()})

    def write_pending(
        self, transaction: Transaction, positions: Mapping[TopicPartition, int]
    ) -> None:
        """Commit when the transaction does."""
        number = next(self._writes)
        waiting = self.pending.setdefault(transaction, {})
        waiting.update({tp: (number, position) for tp, position in positions.items()})

    def mark(self, transaction: Transaction) -> None:
        """A decided transaction's marker arrived."""
        for tp, written in self.pending.pop(transaction).items():
            if transaction.committed and written > self.settled.get(tp, (-1, 0)):
                self.settled[tp] = written
                self.writers[tp] = transaction.transactional_id

    def unstable(self, tp: TopicPartition) -> bool:
        """Whether a transaction may still move this position."""
        return any(tp in positions for positions in self.pending.values())

    def position(self, tp: TopicPartition) -> int | None:
        """The committed position."""
        written = self.settled.get(tp)
        return None if written is None else written[1]

    def committed(self, tp: TopicPartition) -> OffsetAndMetadata | None:
        """The committed position, with the metadata of that very commit."""
        written = self.settled.get(tp)
        if written is None:
            return None
        number, text = self.texts.get(tp, (-1, ""))
        return OffsetAndMetadata(written[1], text if number == written[0] else "")


class Group:
    """One group. Not thread-safe: the cluster's lock guards it."""

    def __init__(self, name: str, partitions: Mapping[str, int]) -> None:
        """*partitions* is the cluster's live count of partitions by topic."""
        self.name = name
        self.offsets = Offsets()
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.preparing = False
        self.assignment: dict[str, tuple[TopicPartition, ...]] = {}
        self.rotation = 0
        """Shifts the order of members: lets a test move partitions without a new member."""
        self.version = 0
        """Changes with everything that a member should look at."""
        self._partitions = partitions
        self._ids = count(1)

    # --- membership

    def join(self, spec: ConsumerSpec, now: float) -> Member:
        """A new member, or a static one in its predecessor's place."""
        member = Member(f"{spec.instance or 'member'}-{next(self._ids)}", spec, now)
        former = self.of_instance(spec.instance)
        if former is None:
            self.members[member.id] = member
            self.rebalance()
            self.rejoin(member)
            return member
        del self.members[former.id]
        self.members[member.id] = member
        self.assignment[member.id] = self.assignment.pop(former.id, ())
        self.version += 1
        if former.spec.topics != spec.topics:
            self.rebalance()
        self.rejoin(member)
        return member

    def of_instance(self, instance: str | None) -> Member | None:
        """The static member of that name."""
        if instance is None:
            return None
        return next((m for m in self.members.values() if m.spec.instance == instance), None)

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        """Who moved these positions last and is no named member any more."""
        writers = {self.offsets.writers.get(tp, "") for tp in partitions}
        named = {member.spec.instance for member in self.members.values()}
        return frozenset(writers - named - {""})

    def owned(self, member_id: str) -> tuple[TopicPartition, ...]:
        """What a member owns: nothing any more once it has rejoined, until the next generation."""
        member = self.members.get(member_id)
        if member is None or (self.preparing and member.joined):
            return ()
        return self.assignment.get(member_id, ())

    def remove(self, member: Member) -> None:
        """It left, or was given up."""
        if self.members.pop(member.id, None) is not None:
            self.assignment.pop(member.id, None)
            self.rebalance()
            self._complete()

    def rebalance(self) -> None:
        """Ask every member to rejoin."""
        if not self.preparing:
            self.preparing = True
            for member in self.members.values():
                member.joined = False
        self.version += 1

    def rejoin(self, member: Member) -> None:
        """A member owns nothing any more and waits for the next generation."""
        if self.preparing:
            member.joined = True
            self._complete()

    def _complete(self) -> None:
        if not self.preparing or not all(m.joined for m in self.members.values()):
            return
        self.preparing = False
        self.generation += 1
        self.version += 1
        self.assignment = assign_by_range(self.members.values(), self._partitions, self.rotation)

    # --- commits

    def refusal(self, membership: Membership, *, transactional: bool) -> str | None:
        """Why the broker refuses a commit of this membership; ownership is no reason."""
        if not membership.member_id and membership.instance is None:
            free = transactional or not self.members
            return None if free else "the group has members, and this is none of them"
        member = self.members.get(membership.member_id)
        if member is None:
            taken = self.of_instance(membership.instance) is not None
            return "another process took the instance name" if taken else "unknown member"
        if membership.generation != self.generation:
            return f"generation {membership.generation} is not {self.generation}"
        return None


def assign_by_range(
    members: Iterable[Member], partitions: Mapping[str, int], rotation: int = 0
) -> dict[str, tuple[TopicPartition, ...]]:
    """Each topic's partitions in contiguous ranges over its subscribers, by name.

    Source: the `range` assignor of the Java client; static members sort by instance name.
    """
    order = sorted(members, key=lambda member: member.spec.instance or member.id)
    shift = rotation % len(order) if order else 0
    order = order[shift:] + order[:shift]
    owned: dict[str, list[TopicPartition]] = {member.id: [] for member in order}
    for topic in sorted({topic for member in order for topic in member.spec.topics}):
        subscribers = [member for member in order if topic in member.spec.topics]
        each, extra = divmod(partitions.get(topic, 0), len(subscribers))
        start = 0
        for index, member in enumerate(subscribers):
            stop = start + each + (index < extra)
            owned[member.id] += [TopicPartition(topic, p) for p in range(start, stop)]
            start = stop
    return {name: tuple(parts) for name, parts in owned.items()}
