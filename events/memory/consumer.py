"""A group member's client: takes, assignments and their epochs, positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from events.broker import (
    ConsumerSpec,
    Message,
    OffsetAndMetadata,
    RevokeHandler,
    Taken,
    TopicPartition,
    unread_deleted,
)
from events.errors import (
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
    RetriableError,
    UnstableError,
)
from events.memory.groups import Member, Membership
from events.memory.link import Link
from events.memory.log import PartitionLog


@dataclass(slots=True)
class _Fetch:
    """Where reading of an owned partition stands; without a position: where it was committed."""

    log: PartitionLog
    epoch: int
    position: int | None
    paused: bool
    resumed: OffsetAndMetadata | None = None
    """The commit that reading went on from, once it has a position."""


class MemoryConsumer:
    """`events.broker.Consumer` on the modelled cluster."""

    def __init__(self, link: Link, spec: ConsumerSpec) -> None:
        self.spec = spec
        self._link = link
        self._cluster = link.cluster
        self._group = link.cluster.group(spec.group)
        self._member: Member | None = None
        self._seen = -1
        """The group's version when this client last looked."""
        self._fetches: dict[TopicPartition, _Fetch] = {}
        self._turns: list[list[_Fetch]] = [[]]
        """The same, each of them first once: nobody is always served last."""
        self._assignment: dict[TopicPartition, int] = {}
        self._nothing = Taken((), self._assignment)
        """What a take in vain returns."""
        self._epochs: dict[TopicPartition, int] = {}
        self._lost: frozenset[TopicPartition] = frozenset()
        self._first: list[Message] = []
        self._handler: RevokeHandler | None = None
        self._fenced = self._closed = False
        self._turn = 0

    # --- takes

    def take(self, n: int, timeout_s: float) -> Taken:
        until = monotonic() + timeout_s if self._cluster.waits else 0.0
        known = self._assignment
        while True:
            with self._cluster.lock:
                self._enter()
                if (leaving := self.leaving()) is None:
                    self._sync()
                    messages = self._fetch(n)
                    if messages or self._lost or self._assignment is not known:
                        lost, self._lost = self._lost, frozenset()
                        return Taken(messages, self._assignment, lost)
                    if not self._wait(until):
                        return self._nothing
                    continue
            # Without the lock: the handler may wait for threads that produce.
            if leaving and self._handler is not None:
                self._handler(leaving)
            self._rejoin()

    def take_first(self) -> bool:
        """Do the first half of a take: fetch one message, which the next `take` returns.

        Between the halves other clients act; the next `take` serves what they caused and drops
        the message when its partition went. Returns whether there was one.
        """
        with self._cluster.lock:
            self._enter()
            if self.leaving() is not None:
                return False
            self._sync()
            if not self._first:
                self._first = self._fetch(1)
            return bool(self._first)

    def leaving(self) -> frozenset[TopicPartition] | None:
        """What the next take gives up because of a rebalance; `None`: it has nothing to serve."""
        member = self._member
        if member is None or member.joined or not self._group.preparing:
            return None
        if self._group.members.get(member.id) is not member:
            return None
        return frozenset(self._fetches)

    def reads(self, log: PartitionLog) -> bool:
        """Whether this is a partition that it owns."""
        return log.source in self._fetches

    def stirs(self) -> bool:
        """Whether a take would bring or change something; one that waits need not look before."""
        if self._seen != self._group.version or self._first:
            return True
        for fetch in self._fetches.values():
            if not fetch.paused:
                position = fetch.position
                if position is None:
                    if not self._group.offsets.unstable(fetch.log.source):
                        return True
                elif position < len(fetch.log.entries) and position < fetch.log.stable:
                    return True
        return False

    def _enter(self) -> None:
        self._link.enter()
        if self._closed:
            raise FatalBrokerError(f"the consumer of {self.spec.group} is closed")
        if self._seen != self._group.version:
            self._check_membership()
        if self._fenced:
            raise DuplicateNameError(
                f"another process runs as {self.spec.instance} in the group {self.spec.group}",
                hint="give each process its own instance name",
            )

    def _check_membership(self) -> None:
        """Learn that the broker gave this member up, or gave its name to another."""
        member = self._member
        if member is None or self._group.members.get(member.id) is member:
            return
        self._link.members.pop(member, None)
        self._fenced = self._group.of_instance(self.spec.instance) is not None
        self._lost |= self._assignment.keys()
        self._disown()
        if not self._fenced:
            self._member = None

    def _sync(self) -> None:
        """Join if need be, and learn the assignment of a new generation."""
        group, member = self._group, self._member
        now = self._cluster.clock()
        if member is None:
            member = self._member = group.join(self.spec, now)
            self._link.members[member] = group
            self._cluster.watch(member)
            self._cluster.changed()
        member.polled_at = now
        if self._seen == group.version:
            return
        self._seen = group.version
        if not group.preparing and member.generation != group.generation:
            member.generation = group.generation
            self._own(group.assignment.get(member.id, ()))

    def _own(self, partitions: Iterable[TopicPartition]) -> None:
        self._disown()
        for tp in partitions:
            log = self._cluster.log(tp)
            if log is None:
                raise FatalBrokerError(f"{tp} was assigned but does not exist")
            epoch = self._epochs[tp] = self._epochs.get(tp, 0) + 1
            self._fetches[tp] = _Fetch(log, epoch, None, self.spec.paused_on_assign)
        fetches = list(self._fetches.values())
        self._turns = [fetches[at:] + fetches[:at] for at in range(len(fetches))] or [[]]
        self._assign({tp: fetch.epoch for tp, fetch in self._fetches.items()})

    def _disown(self) -> None:
        if self._fetches:
            self._fetches, self._turns = {}, [[]]
            self._assign({})

    def _assign(self, assignment: dict[TopicPartition, int]) -> None:
        self._assignment = assignment
        self._nothing = Taken((), assignment)

    def _rejoin(self) -> None:
        with self._cluster.lock:
            self._enter()
            if self.leaving() is not None and self._member is not None:
                self._disown()
                self._group.rejoin(self._member)
                self._cluster.changed()

    def _fetch(self, n: int) -> list[Message]:
        """Up to `n` messages: what a first half kept and nobody took away, then the rest."""
        kept = self._kept() if self._first else []
        if self._cluster.dice.weather("short_take"):
            n = min(n, 1 + self._cluster.dice.pick(3))
        turns = self._turns
        if len(turns) > 1:
            self._turn = (self._turn + 1) % len(turns)
        for fetch in turns[self._turn if len(turns) > 1 else 0]:
            if len(kept) >= n:
                break
            position, log = fetch.position, fetch.log
            if position is not None and position == len(log.entries):
                continue  # read to its end, as most are
            if not fetch.paused and self._positioned(fetch):
                self._read(fetch, n - len(kept), kept)
        return kept

    def _kept(self) -> list[Message]:
        first, self._first = self._first, []
        return [m for m in first if self._assignment.get(m.source) == m.epoch]

    def _positioned(self, fetch: _Fetch) -> bool:
        if fetch.position is None:
            source = fetch.log.source
            if self._group.offsets.unstable(source):
                return False
            fetch.resumed = self._group.offsets.committed(source)
            fetch.position = fetch.resumed.offset if fetch.resumed else fetch.log.first
        if fetch.position < fetch.log.first:
            if self.spec.paused_on_assign:
                where = (self.spec.group, fetch.log.source, fetch.position, fetch.log.first)
                raise unread_deleted(*where)
            fetch.position = fetch.log.first
        return True

    @staticmethod
    def _read(fetch: _Fetch, n: int, into: list[Message]) -> None:
        position = fetch.position or 0
        if position >= fetch.log.stable:
            return
        found = fetch.log.read(position, n)
        fetch.position = found.next_offset
        stamp = (fetch.epoch,)
        into += [Message._make(message[:7] + stamp) for message in found.messages]

    def _wait(self, until: float) -> bool:
        """Wait for a change or an expiry; `False` when the time is up."""
        if not self._cluster.waits:
            return False
        left_s = until - monotonic()
        if left_s <= 0:
            return False
        expiry_s = self._cluster.deadline - self._cluster.clock()
        self._cluster.wait(self, min(left_s, max(expiry_s, 0.001)))
        return True

    # --- positions

    def on_revoke(self, handler: RevokeHandler) -> None:
        self._handler = handler

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        with self._cluster.lock:
            self._link.enter()
            offsets = self._group.offsets
            found: dict[TopicPartition, int | None] = {}
            for tp in partitions:
                if offsets.unstable(tp):
                    raise UnstableError(f"an open transaction may move {self.spec.group} on {tp}")
                found[tp] = offsets.position(tp)
            return found

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        with self._cluster.lock:
            self._link.enter()
            return self._group.departed(partitions)

    def resumed_from(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        with self._cluster.lock:
            self._link.enter()
            fetches = {tp: self._fetches[tp] for tp in partitions if tp in self._fetches}
            return {tp: each.resumed for tp, each in fetches.items() if self._positioned(each)}

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None:
        with self._cluster.lock:
            self._link.enter()
            for tp, position in positions.items():
                if (fetch := self._fetches.get(tp)) is not None:
                    fetch.position = fetch.log.first if position is None else position
                    fetch.paused = False

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._set_paused(partitions, paused=True)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._set_paused(partitions, paused=False)

    def _set_paused(self, partitions: Iterable[TopicPartition], *, paused: bool) -> None:
        with self._cluster.lock:
            self._link.enter()
            for tp in partitions:
                if (fetch := self._fetches.get(tp)) is not None:
                    fetch.paused = paused

    def commit(
        self,
        positions: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str] | None = None,
    ) -> None:
        with self._cluster.lock:
            self._link.enter()
            membership = self.group_metadata()
            refusal = self._group.refusal(membership, transactional=False)
            if refusal is not None:
                raise FencedError(f"{self.spec.group} refuses the commit: {refusal}")
            if self._link.strikes("retriable"):
                raise RetriableError(f"{self.spec.group}: the commit timed out")
            self._cluster.move(self._group, membership.member_id, positions, metadata=metadata)

    def group_metadata(self) -> Membership:
        member = self._member
        if member is None:
            return Membership(self.spec.group, "", self.spec.instance)
        return Membership(self.spec.group, member.id, self.spec.instance, member.generation)

    def close(self) -> None:
        with self._cluster.lock:
            member, self._member = self._member, None
            if self._closed or not self._link.alive:
                return
            self._closed = True
            if member is None or self._link.members.pop(member, None) is None:
                return
            if self.spec.instance is None:
                self._group.remove(member)
            else:
                member.silent_since = self._cluster.clock()
                self._cluster.watch(member)
            self._cluster.changed()
