"""A member of a consumer group.

Rebalances are served inside `poll` and `consume` only, so ownership never changes between takes.
The protocol is eager: each generation takes every partition away and announces itself with an
assignment. Three rules follow from measurements:

- The membership that fences transactions is read *in the assignment callback*. A later read may
  come after a loss that was not served yet; such a membership is blank, and the broker accepts a
  blank one unfenced.
- `consume` may serve a revoke in the middle of a batch. Messages of such a partition are dropped.
  What is assigned within that call delivers nothing before the next take, so that nothing of the
  new assignment is dropped with the old.
- A named member whose session ended while the broker was away may, coming back, be fenced by its
  own request whose answer it never saw. So a fence of what is no member at that moment is answered
  by joining anew, once a while; one of a member means a second process under its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

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
from events.kafka.config import Config, Trouble, log, nobody
from events.kafka.departed import departed, metadata_in
from events.kafka.errors import (
    ENDS_A_CONSUMER,
    OUT_OF_LOG,
    TIMED_OUT,
    cause,
    translate,
    translated,
)
from events.kafka.messages import to_messages
from events.kafka.positions import Positions

COMMITTED_TIMEOUT_S = 0.1
BATCH_MAX = 1_000_000
JOIN_ANEW_S = 60.0
"""How long after joining anew another fence is not one's own."""


class KafkaConsumer:
    """See `events.broker.Consumer`. `make` builds the library's client."""

    def __init__(
        self,
        config: Config,
        spec: ConsumerSpec,
        *,
        trouble: Trouble = nobody,
        make: Callable[[Config], Any] = ck.Consumer,
        aside: Config | None = None,
    ) -> None:
        """*aside*: of a client that reads what is not committed, to ask about those who left."""
        self._spec = spec
        self._aside = aside
        self._writers: dict[TopicPartition, str] = {}
        """Who moved the positions that were asked for."""
        self._trouble = trouble
        self._where = f"consumer of {spec.group}"
        self._handler: RevokeHandler | None = None
        self._membership: Any = None
        self._owned: dict[TopicPartition, int] = {}
        """Replaced, never changed: a `Taken` may hold it."""
        self._times_assigned: dict[TopicPartition, int] = {}
        self._lost: set[TopicPartition] = set()
        self._resumed: dict[TopicPartition, OffsetAndMetadata | None] = {}
        """By owned partition that is read: the commit that reading went on from."""
        self._collecting = False
        self._torn: set[TopicPartition] = set()
        """Revoked since `consume` began: its batch may hold messages from before."""
        self._joined_anew: float | None = None
        self._closing = False
        self._make: Callable[[], Any] = lambda: make(config)
        self._client, self._positions = self._join()

    def take(self, n: int, timeout_s: float) -> Taken:
        self._open_by_itself()
        with translated(self._where):
            first = self._client.poll(timeout_s)
            was_member = self._membership is not None
            raw = [] if first is None else self._collect(first, n)
        try:
            messages = self._converted(raw)
        except DuplicateNameError:
            if was_member or self._joined_anew_lately():
                raise
            self._rejoin()
            messages = []
        lost, self._lost = frozenset(self._lost), set()
        return Taken(messages, self._owned, lost)

    def on_revoke(self, handler: RevokeHandler) -> None:
        self._handler = handler

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        found = self._committed(partitions)
        return {at: None if each is None else each.offset for at, each in found.items()}

    def resumed_from(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        return {at: self._resumed[at] for at in partitions if at in self._resumed}

    def _committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        asked = [ck.TopicPartition(*each) for each in partitions]
        where = f"{self._where}, committed positions"
        try:
            answer = self._client.committed(asked, timeout=COMMITTED_TIMEOUT_S)
        except KafkaException as exception:
            if cause(exception).code() == TIMED_OUT:
                raise UnstableError(f"{where}: no stable answer yet") from None
            with translated(where):
                raise
        with translated(where):
            _raise_first(answer)
        self._writers |= metadata_in(answer)
        return {
            TopicPartition(each.topic, each.partition): OffsetAndMetadata(
                each.offset, each.metadata or ""
            )
            if each.offset >= 0
            else None
            for each in answer
        }

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        asked, me = list(partitions), self._spec.instance
        if me is None or self._aside is None:
            return frozenset()
        writers = {at: self._writers.pop(at) for at in asked if at in self._writers}
        return departed(self._aside, self._spec.group, me, writers, asked)

    def open(self, positions: Mapping[TopicPartition, int | None]) -> None:
        self._positions.open({at: to for at, to in positions.items() if at in self._owned})

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions.pause(at for at in partitions if at in self._owned)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions.resume(at for at in partitions if at in self._owned)

    def commit(
        self,
        positions: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str] | None = None,
    ) -> None:
        if not positions:
            return
        where, beside = f"{self._where}, commit", metadata or {}
        offsets = [
            ck.TopicPartition(*at, offset, beside.get(at, "")) for at, offset in positions.items()
        ]
        try:
            with translated(where):
                _raise_first(self._client.commit(offsets=offsets, asynchronous=False))
        except (DuplicateNameError, FatalBrokerError) as error:
            # After an outage the name may be one's own again; only the take can tell.
            raise FencedError(f"{error}; the next take says why") from error

    def group_metadata(self) -> Any:
        return self._membership

    def close(self) -> None:
        self._closing = True
        with translated(f"{self._where}, close"):
            self._client.close()

    # ---- joining

    def _join(self) -> tuple[Any, Positions]:
        with translated(self._where):
            client = self._make()
            client.subscribe(
                list(self._spec.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost_all,
            )
        return client, Positions(client, self._where)

    def _joined_anew_lately(self) -> bool:
        return self._joined_anew is not None and time.monotonic() - self._joined_anew < JOIN_ANEW_S

    def _rejoin(self) -> None:
        self._trouble("FENCED_BY_ITSELF")
        log.warning("%s: its name was fenced after its session ended; joining anew", self._where)
        self.close()
        self._joined_anew, self._closing = time.monotonic(), False
        self._client, self._positions = self._join()

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
                    self._told(m)
        return to_messages(good, self._owned)

    def _told(self, m: Any) -> None:
        """Raise what ends this consumer; count and log what the client gets over by itself."""
        error: KafkaError = m.error()
        if error.code() == OUT_OF_LOG:
            at = TopicPartition(m.topic(), m.partition())
            first, _ = self._positions.bounds(at)
            raise unread_deleted(self._spec.group, at, self._positions.of(at), first)
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
        self._positions.assigned(at)
        if not self._collecting:
            self._open_by_itself()

    def _open_by_itself(self) -> None:
        """Read new partitions from where the group stands, unless the loop wants to say.

        While that has no answer, nothing is read; every take asks again.
        """
        if self._positions.unopened and not self._spec.paused_on_assign:
            with suppress(UnstableError, RetriableError):
                found = self._committed(sorted(self._positions.unopened))
                self._resumed |= found
                self._positions.start(
                    {at: None if each is None else each.offset for at, each in found.items()}
                )
        self._positions.start_earliest()

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
        self._gone(gone)

    def _gone(self, gone: frozenset[TopicPartition]) -> None:
        self._membership = None
        self._owned = {at: epoch for at, epoch in self._owned.items() if at not in gone}
        self._resumed = {at: each for at, each in self._resumed.items() if at in self._owned}
        self._positions.forget(gone)
        if self._collecting:
            self._torn.update(gone)


def _raise_first(parts: Iterable[ck.TopicPartition]) -> None:
    for part in parts:
        if part.error is not None:
            raise KafkaException(part.error)
