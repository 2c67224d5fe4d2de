"""Every setting of the client library, and why; what a user gave lies between the two layers.

Defaults can be overridden by the user's configuration (TLS, SASL, sizes). What the promises rest
on cannot: the group protocol, isolation, idempotence, the partitioner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import KafkaError

from events.broker import ConsumerSpec
from events.topics import MIB


class Repeats(logging.Filter):
    """Lets one line a second of each kind pass and says how many like it were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        kind = text.partition(" ")[0]  # its facility or error: FAIL, GETPID, _TRANSPORT
        now = time.monotonic()
        last, left_out = self._kinds.get(kind, (0.0, 0))
        if last and now - last < 1:
            self._kinds[kind] = last, left_out + 1
            return False
        self._kinds[kind] = now, 0
        if left_out:
            record.msg, record.args = f"{text} ({left_out} more like it)", ()
        return True


log = logging.getLogger("caseworks.kafka")
log.addHandler(logging.NullHandler())  # nothing on stderr unless the application logs
library_log = log.getChild("client")
"""For the library's own lines, which come by the dozen while a broker is away."""
library_log.addFilter(Repeats())

Config = dict[str, Any]
Isolation = Literal["read_committed", "read_uncommitted"]
Trouble = Callable[[str], None]
"""Hears the name of each error the client gets over by itself (`_TRANSPORT`); must not block."""

COMMON: Mapping[str, str] = {
    "reconnect.backoff.ms": "50",
    "reconnect.backoff.max.ms": "1000",  # a broker that is back is noticed within a second
    "retry.backoff.ms": "5",  # 100, the default, is most of a transaction's time
}
READING: Mapping[str, str] = {
    "queued.min.messages": "10000",  # how far reading runs ahead, in messages
    "queued.max.messages.kbytes": "16384",  # and in bytes
    "fetch.queue.backoff.ms": "10",  # a full queue is looked at again soon; the default is 1 s
    "fetch.error.backoff.ms": "50",
    "socket.timeout.ms": "10000",  # bounds a synchronous commit
}
CONSUMER: Mapping[str, str] = {
    "fetch.wait.max.ms": "100",
    "coordinator.query.interval.ms": "10000",  # a tenth of it when the coordinator is down
}
READER: Mapping[str, str] = {"fetch.wait.max.ms": "1"}  # the end of a log is known at once
WRITING: Mapping[str, str] = {
    "queue.buffering.max.messages": "100000",
    "queue.buffering.max.kbytes": str(128 * 1024),
}
PRODUCER: Mapping[str, str] = {"linger.ms": "2"}
KEPT_READING: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
}
KEPT_MEMBER: Mapping[str, Any] = {
    # The newer protocol fences the restart of a killed static member until its session expires.
    "group.protocol": "classic",
    # Eager: every new generation is announced by an assignment, which our fencing rests on.
    "partition.assignment.strategy": "range",
    "heartbeat.interval.ms": 500,
    "isolation.level": "read_committed",
    "enable.partition.eof": False,
}
KEPT_WRITING: Mapping[str, Any] = {
    "partitioner": "murmur2_random",  # what Java does; the library's default agrees on 1 key in 10
    "enable.idempotence": True,
    "acks": "all",
    "message.max.bytes": 10 * MIB,
}


def nobody(_name: str) -> None:
    """A hook that hears nothing."""


@dataclass(frozen=True)
class ClientConfig:
    """The configuration of every client of one cluster.

    Args:
        bootstrap: `host:port[,host:port]`.
        client_id: How broker logs and quotas name us.
        user: The user's own settings, by the library's names.
        transaction_timeout_s: After which the broker aborts a transaction that nobody ends; until
            then it hides what comes behind it.
        trouble: Counts errors the client gets over by itself.
    """

    bootstrap: str
    client_id: str
    user: Mapping[str, str] = field(default_factory=dict)
    transaction_timeout_s: float = 10.0
    trouble: Trouble = nobody

    def member(self, spec: ConsumerSpec) -> Config:
        """A member of a consumer group.

        One that restores is told from where to read: for it a position outside of the log means
        that unread records were deleted, and is an error.
        """
        named = {"group.instance.id": spec.instance} if spec.instance else {}
        kept = {
            **KEPT_READING,
            **KEPT_MEMBER,
            **named,
            "group.id": spec.group,
            "session.timeout.ms": round(spec.session_timeout_s * 1000),
            "auto.offset.reset": "error" if spec.paused_on_assign else "earliest",
        }
        return self._layers({**READING, **CONSUMER}, kept)

    def reader(self, isolation: Isolation) -> Config:
        """A reader outside of groups; the library wants a group id nevertheless."""
        kept = {
            **KEPT_READING,
            "group.id": f"{self.client_id}-reader-{uuid4().hex}",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        return self._layers({**READING, **READER}, kept)

    def producer(self, linger_ms: int | None = None) -> Config:
        """An idempotent producer; without *linger_ms* as `PRODUCER` says."""
        linger = PRODUCER if linger_ms is None else {"linger.ms": str(linger_ms)}
        return self._layers({**WRITING, **linger}, KEPT_WRITING)

    def transactional(self, transactional_id: str) -> Config:
        """A transactional producer: nothing lingers, since its commit flushes anyway."""
        kept = {
            **KEPT_WRITING,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": round(self.transaction_timeout_s * 1000),
            "linger.ms": 0,
        }
        return self._layers(WRITING, kept)

    def admin(self) -> Config:
        """An admin client."""
        return self._layers({}, {})

    def _layers(self, defaults: Mapping[str, str], kept: Mapping[str, Any]) -> Config:
        ours = {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "error_cb": self._heard,
            "logger": library_log,
        }
        return {**COMMON, **defaults, **self.user, **kept, **ours}

    def _heard(self, error: KafkaError) -> None:
        self.trouble(error.name())
        level = logging.ERROR if error.fatal() else logging.WARNING
        library_log.log(level, "%s %s", error.name(), error.str())
