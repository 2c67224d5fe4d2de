"""The broker ports: what a loop may ask of Kafka, whichever adapter stands behind it.

`events.memory` and `events.kafka` implement them; one contract suite (`tests/contract`) holds
both to the same behaviour, switched by `Features`. All calls on one consumer come from one
thread (the client library starves callers on a second one). Positions are offsets of the *next*
record to read. Logs have gaps: transaction markers and compaction take offsets away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from events.errors import CaseworksError, UnreadDeletedError
from events.topics import TopicSpec

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """What is produced. Without `partition` the key decides (murmur2, Java's default)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Message(NamedTuple):
    """What is consumed. `epoch` counts the assignments of its partition to this consumer."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    epoch: int = 0

    @property
    def source(self) -> TopicPartition:
        """Where it was read."""
        return TopicPartition(self.topic, self.partition)

    def header(self, name: str) -> str | None:
        """The first header of that name as text, or `None`."""
        for key, value in self.headers:
            if key == name:
                return value.decode("utf-8", "replace") if value is not None else None
        return None


LogEnds = Mapping[TopicPartition, int]
"""By partition of a log: the offset after the last mark that a committed transaction wrote."""
Assignment = Mapping[TopicPartition, int]
"""Owned partitions with the epoch of their assignment; a regained partition has a new epoch."""


class OffsetAndMetadata(NamedTuple):
    """A committed position, and the text that was committed beside it (at most 4096 bytes)."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """The reply to a take: messages of owned partitions, all of the epoch they are stamped with.

    `lost` names partitions that were taken away without notice since the last take: nothing may
    be committed for them.
    """

    messages: Sequence[Message]
    assignment: Assignment
    lost: frozenset[TopicPartition] = frozenset()


@dataclass(frozen=True, slots=True)
class LogSlice:
    """A read of the changelog: committed records, where to go on, and whether that is the end."""

    messages: Sequence[Message]
    next_offset: int


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A member of a consumer group."""

    group: str
    topics: tuple[str, ...]
    instance: str | None = None
    """Stable member name (`group.instance.id`); `None` is a dynamic member."""
    paused_on_assign: bool = False
    """New partitions deliver nothing until `open` says from where (for loops that restore)."""
    session_timeout_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Features:
    """What an adapter can do; the contract suite switches its tests by it."""

    transactions: bool = True
    static_membership: bool = True
    persistent: bool = False
    """Its records outlive the process."""
    virtual_clock: bool = False
    late_markers: bool = False
    """Commit markers can be held back, per partition, to test what waits for them."""


RevokeHandler = Callable[[frozenset[TopicPartition]], None]
"""Called inside a take, on the consumer's thread, before the partitions go; it may commit."""


def unread_deleted(group: str, source: TopicPartition, position: int, first: int) -> CaseworksError:
    """What a loop ends with whose next record is gone: jumping on would lose events silently."""
    topic, partition = source
    if position > first:
        return UnreadDeletedError(
            f"{topic}:{partition}: {group} is at offset {position}, which is not there: the topic "
            "was made anew or cut",
            hint=f"reset the group: kafka-consumer-groups --reset-offsets --to-earliest "
            f"--topic {topic}:{partition} --group {group} --execute",
        )
    return UnreadDeletedError(
        f"{topic}:{partition}: {first - position} offsets, {position} to {first - 1}, were deleted "
        f"by retention before {group} had read them; what stood there is lost",
        hint=f"raise the topic's retention.ms; to go on without them: kafka-consumer-groups "
        f"--reset-offsets --to-offset {first} --topic {topic}:{partition} --group {group} "
        "--execute while no coordinator runs",
    )


class Consumer(Protocol):
    """A member of a group, reading committed records. Owned by one thread."""

    def take(self, n: int, timeout_s: float) -> Taken:
        """Wait at most `timeout_s` for the first message, then return up to `n` without waiting.

        Serves rebalances. Messages of a partition whose epoch changed while taking are dropped
        (they will be delivered again). Raises `DuplicateNameError` when another live member took
        this name, `FatalBrokerError` when the client is broken, and, with `paused_on_assign`,
        `UnreadDeletedError` when the next record of a partition is no longer there.
        """

    def on_revoke(self, handler: RevokeHandler) -> None:
        """Set who is told, inside `take`, that partitions are about to go."""

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Committed positions. Raises `UnstableError` while a transaction may still move them."""

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        """Who committed these positions in a transaction last and is no named member any more.

        By transactional id, which is the name of a member that has both. Raises `RetriableError`.
        """

    def resumed_from(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """The commits that reading of these owned partitions went on from; `None`: there was none.

        Asks nobody. Leaves out what is not known yet: nothing of it was delivered.
        """

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None:
        """Deliver from these positions on (`None`: the earliest); resumes paused partitions."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing from these until `resume`; may throw prefetched records away."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver again, from where it stopped."""

    def commit(
        self,
        positions: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str] | None = None,
    ) -> None:
        """Commit positions synchronously, with a text beside those that *metadata* has one for.

        Raises `RetriableError` or `FencedError`: refused.
        """

    def group_metadata(self) -> Any:
        """The membership that `send_offsets` is fenced by; read it right after a take."""

    def close(self) -> None:
        """Leave. A static member's partitions stay unowned until its session times out."""


DeliveryReport = Callable[[Exception | None], None]
"""Called once per record when it is acknowledged (`None`) or given up; on any thread."""


class Producer(Protocol):
    """An idempotent producer without transactions. Thread-safe."""

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        """Queue a record. Raises `RetriableError` when the bounded queue is full."""

    def poll(self) -> None:
        """Serve delivery reports that have arrived; does not wait."""

    def flush(self, timeout_s: float) -> int:
        """Wait for all reports; returns how many are still missing."""

    def close(self) -> None:
        """Give up what is not delivered and free the client."""


class TransactionalProducer(Protocol):
    """A producer with a stable transactional id. Owned by one thread.

    Every method may raise `RetriableError` (repeat the call), `AbortableError`, `FencedError`
    or `FatalBrokerError`.
    """

    def init(self) -> None:
        """Fence every older producer of this id and finish its open transaction. May block."""

    def begin(self) -> None:
        """Start a transaction."""

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        """Add records; they are seen by committed readers after `commit`.

        *marks* come after them, are few, and have their offsets answered by `commit`.
        """

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        """Commit consumed positions with the transaction, fenced by the group's generation."""

    def commit(self) -> LogEnds:
        """Commit. On `RetriableError` (a time-out included) repeat it; never abort.

        Returns where this transaction's marks ended; one whose offset is not known is left out.
        """

    def abort(self) -> None:
        """Abort."""

    def close(self) -> None:
        """Free the client without finishing its transaction."""


class LogReader(Protocol):
    """Reads any partition from any offset, outside of groups. Owned by one thread."""

    def end(self, source: TopicPartition, *, committed: bool) -> int:
        """The high watermark; with `committed`, the stable offset (before open transactions)."""

    def ends(
        self, sources: Collection[TopicPartition], *, committed: bool
    ) -> dict[TopicPartition, int]:
        """The ends of many, in few requests."""

    def beginning(self, source: TopicPartition) -> int:
        """The first offset that is still there."""

    def bounds(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """The beginning and the stable offset of many, in few requests."""

    def read(self, source: TopicPartition, offset: int, n: int) -> LogSlice:
        """Up to `n` committed records from `offset` on.

        Returns no messages and `next_offset` past markers when there are none before the stable
        offset. May wait a short bounded time; never waits for an open transaction to end.
        """

    def read_many(
        self, offsets: Mapping[TopicPartition, int], n: int
    ) -> dict[TopicPartition, LogSlice]:
        """The same for several partitions at once, `n` messages of all together at the most."""

    def rest(self) -> None:
        """Nothing is read for a while: what was read in part is fetched no further meanwhile."""

    def close(self) -> None:
        """Free the client."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is on the broker."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One partition of a group: `committed` is `None` when nothing was committed yet."""

    source: TopicPartition
    committed: int | None
    end: int


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a group, and what they have among them."""

    members: int = 0
    owned: frozenset[TopicPartition] = frozenset()


class Admin(Protocol):
    """Topics and groups."""

    def topics(self) -> dict[str, TopicState]:
        """All topics by name, without the broker's own. Raises `SetupError` if unreachable."""

    def identity(self, topic: str) -> str:
        """The ids of the cluster and the topic: one made anew under its name has another.

        Raises `SetupError` when there is no such topic.
        """

    def create(self, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
        """Make the missing ones (an existing topic is left alone); returns what was made."""

    def lag(self, group: str, *, topics: Sequence[str] | None = None) -> tuple[GroupLag, ...]:
        """Committed and end offsets of every partition that the group committed or owns.

        With *topics* of all their partitions instead: what a process may ask again and again.
        """

    def positions(
        self, group: str, topics: Sequence[str]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group committed for every partition of these topics; `None`: nothing yet.

        A topic that is not there is left out. May be asked again and again.
        """

    def members(self, group: str) -> int:
        """How many members the group has; 0 for an unknown group."""

    def roster(self, group: str) -> Roster:
        """Its members and what they own; may be asked again and again. Raises `RetriableError`."""

    def close(self) -> None:
        """Free the client."""


class Broker(Protocol):
    """The factory of all of the above for one cluster."""

    features: Features

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        """Join a group. Joining happens in `take`."""

    def producer(self, *, ordered: bool = True) -> Producer:
        """A producer without transactions.

        With `ordered=False` records of one partition may overtake each other, which is quicker.
        """

    def transactional(self, transactional_id: str) -> TransactionalProducer:
        """A transactional producer; `init` must come first."""

    def reader(self) -> LogReader:
        """A reader outside of groups."""

    def admin(self) -> Admin:
        """Topics and groups."""
