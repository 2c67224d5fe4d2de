"""A member of a consumer group.

Rebalances are served inside `poll` and `consume` only, so ownership never changes between takes.
The protocol is eager: each generation takes every partition away and announces itself with an
assignment. Four rules follow from measurements:

- The membership that fences transactions is read *in the assignment callback*. A later read may
  come after a loss that was not served yet; such a membership is blank, and the broker accepts a
  blank one unfenced.
- `consume` may serve a revoke in the middle of a batch. Messages of such a partition are dropped.
  Should it also be assigned again within that call, it is held back until the next take, so that
  nothing of the new assignment is dropped with the old.
- A named member that lost its session while the broker was away may, coming back, be fenced by its
  own request whose answer it never saw. So a fence soon after a loss is answered by joining anew;
  any other one means a second process under this name.
- Resuming does not wake the thread that fetches, which looks again only once a second; seeking
  does. So a partition is resumed first and sought after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from events.broker import ConsumerSpec, Message, RevokeHandler, Taken, TopicPartition
from events.errors import (
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
    RetriableError,
    UnstableError,
)
from events.kafka.config import Config, Trouble, log, nobody
from events.kafka.errors import (
    ENDS_A_CONSUMER,
    NOT_STARTED,
    OUT_OF_LOG,
    TIMED_OUT,
    cause,
    translate,
    translated,
)
from events.kafka.messages import to_messages

COMMITTED_TIMEOUT_S = 0.1
SEEK_TIMEOUT_S = 2.0
SEEK_AGAIN_S = 0.005
BATCH_MAX = 1_000_000
FENCED_BY_ITSELF_S = 60.0
"""How long after a loss a fence may still be one's own."""


class KafkaConsumer:
    """See `events.broker.Consumer`. `make` builds the library's client."""

    def __init__(
        self,
        config: Config,
        spec: ConsumerSpec,
        *,
        trouble: Trouble = nobody,
        make: Callable[[Config], Any] = ck.Consumer,
    ) -> None:
        self._spec = spec
        self._trouble = trouble
        self._where = f"consumer of {spec.group}"
        self._handler: RevokeHandler | None = None
        self._membership: Any = None
        self._owned: dict[TopicPartition, int] = {}
        """Replaced, never changed: a `Taken` may hold it."""
        self._times_assigned: dict[TopicPartition, int] = {}
        self._lost: set[TopicPartition] = set()
        self._collecting = False
        self._torn: set[TopicPartition] = set()
        """Revoked since `consume` began: its batch may hold messages from before."""
        self._held: list[ck.TopicPartition] = []
        self._sought: dict[TopicPartition, int] = {}
        self._lost_at: float | None = None
        self._closing = False
        self._make: Callable[[], Any] = lambda: make(config)
        self._client = self._join()

    def take(self, n: int, timeout_s: float) -> Taken:
        if self._held:
            held, self._held = self._held, []
            self._client.resume(held)
        with translated(self._where):
            first = self._client.poll(timeout_s)
            raw = [] if first is None else self._collect(first, n)
        try:
            messages = self._converted(raw)
        except DuplicateNameError:
            if not self._was_lost_lately():
                raise
            self._rejoin()
            messages = []
        lost, self._lost = frozenset(self._lost), set()
        return Taken(messages, self._owned, lost)

    def on_revoke(self, handler: RevokeHandler) -> None:
        self._handler = handler

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        asked = [ck.TopicPartition(*each) for each in partitions]
        where = f"{self._where}, committed positions"
        try:
            answer = self._client.committed(asked, timeout=COMMITTED_TIMEOUT_S)
        except KafkaException as exception:
            if cause(exception).code() == TIMED_OUT:
                raise UnstableError(f"{where}: no stable answer yet") from None
            raise translate(cause(exception), where) from exception
        _raise_first(answer, where)
        return {
            TopicPartition(each.topic, each.partition): each.offset if each.offset >= 0 else None
            for each in answer
        }

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None:
        owned = {at: offset for at, offset in positions.items() if at in self._owned}
        if not owned:
            return
        if self._spec.paused_on_assign:
            self._read_from(owned)
            return
        self._client.resume([ck.TopicPartition(*at) for at in owned])
        for at, offset in owned.items():
            self._seek(at, ck.OFFSET_BEGINNING if offset is None else offset)

    def _read_from(self, wanted: Mapping[TopicPartition, int | None]) -> None:
        """Assign what is open, with its positions; what is not open yet is not assigned at all.

        Assigned first and sought later, a partition may forget the seek: the answer to its first
        question for an offset comes after it, and whole ranges are skipped.
        """
        others = [at for at in self._sought if at not in wanted]
        with translated(f"{self._where}, open"):
            reached = self._client.position([ck.TopicPartition(*at) for at in others])
            for at, each in zip(others, reached, strict=True):
                if each.offset >= 0:
                    self._sought[at] = each.offset
            for at, offset in wanted.items():
                self._sought[at] = ck.OFFSET_BEGINNING if offset is None else offset
            parts = [ck.TopicPartition(*at, offset) for at, offset in self._sought.items()]
            self._client.assign(parts)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        with translated(f"{self._where}, pause"):
            self._client.pause(self._ours(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        ours = self._ours(partitions)
        if not ours:
            return
        with translated(f"{self._where}, resume"):
            self._client.resume(ours)
            positions = self._client.position(ours)
        for each in positions:
            at = TopicPartition(each.topic, each.partition)
            offset = each.offset if each.offset >= 0 else self._sought.get(at)
            if offset is not None:
                self._seek(at, offset)

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        if not positions:
            return
        where = f"{self._where}, commit"
        offsets = [ck.TopicPartition(*at, offset) for at, offset in positions.items()]
        try:
            with translated(where):
                _raise_first(self._client.commit(offsets=offsets, asynchronous=False), where)
        except FatalBrokerError as error:
            raise FencedError(f"{error}; the next take says why") from error

    def group_metadata(self) -> Any:
        return self._membership

    def close(self) -> None:
        self._closing = True
        with translated(f"{self._where}, close"):
            self._client.close()

    # ---- joining

    def _join(self) -> Any:
        with translated(self._where):
            client = self._make()
            client.subscribe(
                list(self._spec.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost_all,
            )
        return client

    def _was_lost_lately(self) -> bool:
        return self._lost_at is not None and time.monotonic() - self._lost_at < FENCED_BY_ITSELF_S

    def _rejoin(self) -> None:
        self._trouble("FENCED_BY_ITSELF")
        log.warning("%s: its name was fenced after its session was lost; joining anew", self._where)
        self.close()
        self._lost_all(None, [ck.TopicPartition(*at) for at in self._owned])
        self._lost_at, self._closing = None, False
        self._client = self._join()

    # ---- batches

    def _collect(self, first: Any, n: int) -> list[Any]:
        if n <= 1:
            return [first]
        self._collecting = True
        try:
            raw = [first, *self._client.consume(min(n - 1, BATCH_MAX), 0)]
            return [m for m in raw if not self._is_torn(m)] if self._torn else raw
        finally:
            self._collecting = False
            self._torn = set()

    def _is_torn(self, m: Any) -> bool:
        return m.error() is None and (m.topic(), m.partition()) in self._torn

    def _converted(self, raw: list[Any]) -> list[Message]:
        good = [m for m in raw if m.error() is None]
        if len(good) < len(raw):
            for m in raw:
                if m.error() is not None:
                    self._told(m.error())
        return to_messages(good, self._owned)

    def _told(self, error: KafkaError) -> None:
        """Raise what ends this consumer; count and log what the client gets over by itself."""
        if error.code() == OUT_OF_LOG:
            raise FatalBrokerError(
                f"{self._where}: unread records were deleted before they were read: {error.str()}",
                hint="raise the topic's retention, then set the group's position by hand",
            )
        if error.code() in ENDS_A_CONSUMER or error.fatal():
            raise translate(error, self._where)
        self._trouble(error.name())
        log.warning("%s: %s [%s]", self._where, error.str(), error.name())

    # ---- rebalances: called by the client inside of poll and consume

    def _assigned(self, client: Any, parts: list[ck.TopicPartition]) -> None:
        membership = client.consumer_group_metadata()
        if not client.memberid():  # lost again already; that is served next
            client.assign([])
            return
        self._membership = membership
        at = [TopicPartition(each.topic, each.partition) for each in parts]
        for each in at:
            self._times_assigned[each] = self._times_assigned.get(each, 0) + 1
        self._owned = {**self._owned, **{each: self._times_assigned[each] for each in at}}
        if self._spec.paused_on_assign:
            client.assign([])  # nothing is read before `open` says from where
            return
        client.assign(parts)
        torn = [part for part in parts if (part.topic, part.partition) in self._torn]
        if torn:
            client.pause(torn)
            self._held.extend(torn)

    def _revoked(self, _client: Any, parts: list[ck.TopicPartition]) -> None:
        going = frozenset(TopicPartition(each.topic, each.partition) for each in parts)
        try:
            if self._handler is not None and going and not self._closing:
                self._handler(going)
        finally:
            self._gone(going)

    def _lost_all(self, _client: Any, parts: list[ck.TopicPartition]) -> None:
        gone = frozenset(TopicPartition(each.topic, each.partition) for each in parts)
        self._lost.update(gone & self._owned.keys())
        self._lost_at = time.monotonic()
        self._gone(gone)

    def _gone(self, gone: frozenset[TopicPartition]) -> None:
        self._membership = None
        self._owned = {at: epoch for at, epoch in self._owned.items() if at not in gone}
        self._held = [p for p in self._held if (p.topic, p.partition) not in gone]
        self._sought = {at: offset for at, offset in self._sought.items() if at not in gone}
        if self._collecting:
            self._torn.update(gone)

    # ---- positions

    def _ours(self, partitions: Iterable[TopicPartition]) -> list[ck.TopicPartition]:
        return [ck.TopicPartition(*at) for at in partitions if at in self._owned]

    def _seek(self, at: TopicPartition, offset: int) -> None:
        if offset == 0:
            self._seek_when_started(at, 1)  # a seek to 0 alone does not wake the fetching thread
        self._seek_when_started(at, offset)
        self._sought[at] = offset

    def _seek_when_started(self, at: TopicPartition, offset: int) -> None:
        """A partition that was just assigned cannot be sought yet: try again, bounded."""
        deadline = time.monotonic() + SEEK_TIMEOUT_S
        while True:
            try:
                self._client.seek(ck.TopicPartition(*at, offset))
                return
            except KafkaException as exception:
                where = f"{self._where}, seek of {at.topic}:{at.partition} to {offset}"
                if cause(exception).code() not in NOT_STARTED:
                    raise translate(cause(exception), where) from exception
                if time.monotonic() > deadline:
                    raise RetriableError(f"{where}: its reading has not started yet") from None
            time.sleep(SEEK_AGAIN_S)


def _raise_first(parts: Iterable[ck.TopicPartition], where: str) -> None:
    for part in parts:
        if part.error is not None:
            raise translate(part.error, f"{where} of {part.topic}:{part.partition}")
