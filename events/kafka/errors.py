# ruff: noqa: SLF001 - the library's own codes begin with an underscore
"""What an error of the client library means to us, as one table.

Sources: the error handling of transactions in librdkafka's introduction (retriable, abortable,
fatal), and the protocol's error codes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from events.errors import (
    AbortableError,
    CaseworksError,
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
    PayloadError,
    RetriableError,
    SetupError,
    UnstableError,
)

E = KafkaError
BREATH_S = 0.05
"""Some calls fail at once while a broker is away; whoever repeats them must not spin."""

NAME_TAKEN = frozenset({E.FENCED_INSTANCE_ID, E.UNRELEASED_INSTANCE_ID})
PRODUCER_REPLACED = frozenset(
    {E._FENCED, E.PRODUCER_FENCED, E.INVALID_PRODUCER_EPOCH, E.INVALID_PRODUCER_ID_MAPPING}
)
MEMBERSHIP_OVER = frozenset(
    {
        E.ILLEGAL_GENERATION,
        E.UNKNOWN_MEMBER_ID,
        E.REBALANCE_IN_PROGRESS,
        E.FENCED_MEMBER_EPOCH,
        E.STALE_MEMBER_EPOCH,
        E._ASSIGNMENT_LOST,
    }
)
TOO_LARGE = frozenset({E.MSG_SIZE_TOO_LARGE, E.INVALID_MSG_SIZE, E.RECORD_LIST_TOO_LARGE})
REFUSED_BY_SETUP = frozenset(
    {
        E.TOPIC_EXCEPTION,
        E.TOPIC_AUTHORIZATION_FAILED,
        E.GROUP_AUTHORIZATION_FAILED,
        E.CLUSTER_AUTHORIZATION_FAILED,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        E.SASL_AUTHENTICATION_FAILED,
        E.UNSUPPORTED_SASL_MECHANISM,
        E._AUTHENTICATION,
        E._SSL,
        E.INVALID_REPLICATION_FACTOR,
        E.INVALID_PARTITIONS,
        E.INVALID_CONFIG,
        E.POLICY_VIOLATION,
        E.INVALID_TRANSACTION_TIMEOUT,
        E.INVALID_SESSION_TIMEOUT,
        E.UNSUPPORTED_VERSION,
    }
)
PASSING = frozenset(
    {
        # A broker that has just started may know no topics for a moment; that ours are there is
        # checked once, when a process starts.
        E.UNKNOWN_TOPIC_OR_PART,
        E._UNKNOWN_TOPIC,
        E._UNKNOWN_PARTITION,
        E._TIMED_OUT,
        E._TIMED_OUT_QUEUE,
        E._MSG_TIMED_OUT,
        E._TRANSPORT,
        E._ALL_BROKERS_DOWN,
        E._RESOLVE,
        E._WAIT_COORD,
        E._WAIT_CACHE,
        E._QUEUE_FULL,
        E._PREV_IN_PROGRESS,
        E._PURGE_QUEUE,
        E._PURGE_INFLIGHT,
        E.REQUEST_TIMED_OUT,
        E.NETWORK_EXCEPTION,
        E.COORDINATOR_NOT_AVAILABLE,
        E.COORDINATOR_LOAD_IN_PROGRESS,
        E.NOT_COORDINATOR,
        E.NOT_CONTROLLER,
        E.LEADER_NOT_AVAILABLE,
        E.NOT_LEADER_FOR_PARTITION,
        E.BROKER_NOT_AVAILABLE,
        E.REPLICA_NOT_AVAILABLE,
        E.OFFSET_NOT_AVAILABLE,
        E.KAFKA_STORAGE_ERROR,
        E.NOT_ENOUGH_REPLICAS,
        E.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        E.CONCURRENT_TRANSACTIONS,
        E.UNKNOWN_LEADER_EPOCH,
        E.FENCED_LEADER_EPOCH,
        E.THROTTLING_QUOTA_EXCEEDED,
    }
)
ENDS_A_CONSUMER = NAME_TAKEN | REFUSED_BY_SETUP | {E._FATAL, E._AUTO_OFFSET_RESET}
"""What a consumer may not read over; it gets over everything else by itself."""

NOT_STARTED = frozenset({E._STATE, E._PREV_IN_PROGRESS, E._UNKNOWN_PARTITION})
"""A seek came before the assignment took effect."""
FATAL = E._FATAL
TIMED_OUT = E._TIMED_OUT
PARTITION_EOF = E._PARTITION_EOF
OUT_OF_LOG = E._AUTO_OFFSET_RESET
GROUP_UNKNOWN = E.GROUP_ID_NOT_FOUND
PARTITION_GONE = frozenset({E.UNKNOWN_TOPIC_OR_PART, E._UNKNOWN_TOPIC, E._UNKNOWN_PARTITION})
TOPIC_EXISTS = E.TOPIC_ALREADY_EXISTS

HINTS: dict[type[CaseworksError], str] = {
    DuplicateNameError: "give each process its own CASEWORKS_INSTANCE",
    SetupError: "`caseworks doctor` says what is missing",
    FatalBrokerError: "restart the process",
}
_NAME_TAKEN_TEXT = KafkaError(E.FENCED_INSTANCE_ID).str()


def translate(error: KafkaError, where: str) -> CaseworksError:
    """The error of `events.errors` for one of the client library; `where` begins its message.

    A transaction that must be aborted outranks what is wrong with it, except for a fence, which no
    abort mends. Whether a member's name was taken is for its consumer to say.
    """
    kind = _kind(error)
    text = f"{where}: {error.str()} [{error.name()}]"
    if kind is PayloadError:
        return PayloadError("too_large", text)
    return kind(text, hint=HINTS.get(kind, ""))


def _kind(error: KafkaError) -> type[CaseworksError]:
    code = error.code()
    if code in PRODUCER_REPLACED:
        return FencedError
    if error.txn_requires_abort():
        return AbortableError
    # The code of a fatal error says only that; what was fatal stands in its text.
    if code in NAME_TAKEN or (code == E._FATAL and _NAME_TAKEN_TEXT in error.str()):
        return DuplicateNameError
    if code == E.UNSTABLE_OFFSET_COMMIT:
        return UnstableError
    if error.fatal() or code == E._FATAL:
        return FatalBrokerError
    if code in MEMBERSHIP_OVER:
        return FencedError
    if error.retriable() or code in PASSING:
        return RetriableError
    if code in TOO_LARGE:
        return PayloadError
    return SetupError if code in REFUSED_BY_SETUP else FatalBrokerError


def cause(exception: KafkaException) -> KafkaError:
    """The library's error inside its exception."""
    error: KafkaError = exception.args[0]
    return error


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise errors of the client library as ours; a retriable one after `BREATH_S`."""
    try:
        yield
    except KafkaException as exception:
        error = translate(cause(exception), where)
        if isinstance(error, RetriableError):
            time.sleep(BREATH_S)
        raise error from exception
