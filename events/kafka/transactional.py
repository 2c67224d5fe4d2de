"""A producer with a stable transactional id.

The client library retries by itself within each call's time; what it gives back is translated:
repeat, abort, renew, or end. A time-out of `commit` says nothing about how the commit went.

After a broker came back, sending offsets may hang for ever, whatever its time-out (librdkafka
issues 5456 and 5511). So that call is made aside; when it does not come back, the client is given
up as if it were fenced: a new producer fences it indeed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from events.broker import LogEnds, Record, TopicPartition
from events.errors import AbortableError, CaseworksError, FencedError
from events.kafka.aside import Aside
from events.kafka.config import Config
from events.kafka.errors import FATAL, cause, translate, translated

Heard = Callable[[KafkaError | None, Any], None]
"""Called by the library when a record is acknowledged or given up."""
CALL_TIMEOUT_S = 10.0
"""How long one call of init, commit or abort may take before it is the caller's to repeat."""
OFFSETS_TIMEOUT_S = 5.0
HUNG_S = 8.0
"""After which a call that should have returned long ago is given up, and its client with it."""
ROOM_TIMEOUT_S = 10.0
"""How long a full queue may stay full inside a transaction."""


class KafkaTransactionalProducer:
    """See `events.broker.TransactionalProducer`."""

    def __init__(self, config: Config) -> None:
        self._name: str = config["transactional.id"]
        self._where = f"transactions of {self._name}"
        self._aside: Aside | None = None
        self._marks: dict[TopicPartition, int] = {}
        """Where the marks of this transaction end, as far as they were acknowledged."""
        with translated(self._where):
            self._client = ck.Producer(config)

    def init(self) -> None:
        with translated(f"{self._where}, init"):
            # Where no connection stands yet, the library looks for the transactions' coordinator
            # again after 500 ms: one start in four took that long (2.16.1). This makes one.
            self._client.list_topics(timeout=CALL_TIMEOUT_S)
            self._client.init_transactions(CALL_TIMEOUT_S)

    def begin(self) -> None:
        with translated(f"{self._where}, begin"):
            self._client.poll(0)  # the library's log lines; a fatal error comes out here
            self._client.begin_transaction()
        self._marks = {}

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        """Add records. A refused record makes the whole transaction one to abort."""
        self._put(records, None)
        if marks:
            self._put(marks, partial(_acknowledged, self._marks))

    def _put(self, records: Sequence[Record], heard: Heard | None) -> None:
        put = self._client.produce
        for topic, key, value, headers, partition in records:
            to = -1 if partition is None else partition
            try:
                put(topic, value, key, to, heard, None, 0, list(headers))
            except BufferError:
                self._put_when_there_is_room(topic, value, key, to, heard, None, 0, list(headers))
            except KafkaException as exception:
                raise self._refused(exception, topic) from exception

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        if metadata is None:
            raise AbortableError(f"{self._where}, offsets: the group membership is over")
        # Whose transaction moved a position stands beside it: see `events.kafka.departed`.
        offsets = [ck.TopicPartition(*at, offset, self._name) for at, offset in positions.items()]
        send = self._client.send_offsets_to_transaction
        if self._aside is None:
            self._aside = Aside(self._where)
        try:
            with translated(f"{self._where}, offsets"):
                self._aside.run(lambda: send(offsets, metadata, OFFSETS_TIMEOUT_S), HUNG_S)
        except TimeoutError:
            raise FencedError(f"{self._where}, offsets: the client hangs and is given up") from None

    def commit(self) -> LogEnds:
        with translated(f"{self._where}, commit"):
            self._client.commit_transaction(CALL_TIMEOUT_S)  # serves the reports of the marks
        return self._marks

    def abort(self) -> None:
        with translated(f"{self._where}, abort"):
            self._client.abort_transaction(CALL_TIMEOUT_S)

    def close(self) -> None:
        # Destroys the client. Its own `close` would abort the transaction first, or wait for it.
        vars(self).pop("_client", None)
        if self._aside is not None:
            self._aside.close()

    def _put_when_there_is_room(self, topic: str, *rest: Any) -> None:
        deadline = time.monotonic() + ROOM_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._client.poll(0.01)
                self._client.produce(topic, *rest)
            except BufferError:
                continue
            except KafkaException as exception:
                raise self._refused(exception, topic) from exception
            return
        raise AbortableError(f"{self._where}, {topic}: no room for {ROOM_TIMEOUT_S} s")

    def _refused(self, exception: KafkaException, topic: str) -> CaseworksError:
        where = f"{self._where}, {topic}"
        error = cause(exception)
        if error.fatal() or error.code() == FATAL:
            return translate(self._fatal() or error, where)
        return AbortableError(str(translate(error, where)))

    def _fatal(self) -> KafkaError | None:
        """What the client died of: producing says only that it did, beginning says of what."""
        try:
            self._client.begin_transaction()
        except KafkaException as exception:
            return cause(exception)
        return None


def _acknowledged(marks: dict[TopicPartition, int], error: KafkaError | None, m: Any) -> None:
    """Note where a mark went. A record sent twice is acknowledged without saying where: -1001."""
    if error is None and m.offset() >= 0:
        marks[TopicPartition(m.topic(), m.partition())] = m.offset() + 1
