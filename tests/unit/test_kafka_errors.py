"""What errors of the client library become: no broker needed."""

from __future__ import annotations

import pytest
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
from events.kafka import errors
from events.kafka.errors import translate, translated


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._FENCED, FencedError),
        (KafkaError.PRODUCER_FENCED, FencedError),
        (KafkaError.INVALID_PRODUCER_EPOCH, FencedError),
        (KafkaError.ILLEGAL_GENERATION, FencedError),
        (KafkaError.UNKNOWN_MEMBER_ID, FencedError),
        (KafkaError.REBALANCE_IN_PROGRESS, FencedError),
        (KafkaError.FENCED_INSTANCE_ID, DuplicateNameError),
        (KafkaError.UNSTABLE_OFFSET_COMMIT, UnstableError),
        (KafkaError._TIMED_OUT, RetriableError),
        (KafkaError._TRANSPORT, RetriableError),
        (KafkaError._UNKNOWN_PARTITION, RetriableError),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, RetriableError),
        (KafkaError.CONCURRENT_TRANSACTIONS, RetriableError),
        (KafkaError._PURGE_QUEUE, RetriableError),
        (KafkaError.MSG_SIZE_TOO_LARGE, PayloadError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, RetriableError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, SetupError),
        (KafkaError._FATAL, FatalBrokerError),
        (KafkaError._CONFLICT, FatalBrokerError),
        (KafkaError._STATE, FatalBrokerError),
        (KafkaError._INVALID_ARG, FatalBrokerError),
    ],
)
def test_a_code_means_the_error_of_who_must_act(code: int, kind: type[CaseworksError]) -> None:
    assert type(translate(KafkaError(code), "here")) is kind


def test_what_the_library_calls_retriable_is_repeated() -> None:
    error = KafkaError(KafkaError._CONFLICT, retriable=True)
    assert type(translate(error, "commit")) is RetriableError


def test_what_must_be_aborted_is_aborted_whatever_its_code() -> None:
    error = KafkaError(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)
    assert type(translate(error, "offsets")) is AbortableError


def test_a_fence_is_a_fence_although_the_library_calls_it_fatal() -> None:
    error = KafkaError(KafkaError._FENCED, fatal=True)
    assert type(translate(error, "commit")) is FencedError


def test_a_name_that_was_taken_is_for_the_consumer_to_say_and_not_for_a_transaction() -> None:
    error = KafkaError(KafkaError.FENCED_INSTANCE_ID, txn_requires_abort=True)
    assert type(translate(error, "offsets")) is AbortableError


def test_a_taken_name_is_found_in_the_text_of_a_fatal_error() -> None:
    text = f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}: Fatal consumer error"
    assert type(translate(KafkaError(KafkaError._FATAL, text), "here")) is DuplicateNameError


def test_another_fatal_error_ends_the_process() -> None:
    error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)
    assert type(translate(error, "here")) is FatalBrokerError


def test_a_message_says_where_what_and_what_to_do() -> None:
    error = translate(KafkaError(KafkaError.FENCED_INSTANCE_ID), "consumer of cw.intake")
    assert str(error).startswith("consumer of cw.intake: Broker: Static consumer fenced")
    assert "[FENCED_INSTANCE_ID]" in str(error)
    assert "CASEWORKS_INSTANCE" in str(error)


def test_too_large_is_the_reason_of_a_payload() -> None:
    error = translate(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), "producer")
    assert isinstance(error, PayloadError)
    assert error.reason == "too_large"


def test_an_exception_of_the_library_comes_out_as_ours() -> None:
    with pytest.raises(RetriableError, match="init"), translated("init"):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_no_code_stands_in_two_rows() -> None:
    rows = [
        errors.NAME_TAKEN,
        errors.PRODUCER_REPLACED,
        errors.MEMBERSHIP_OVER,
        errors.TOO_LARGE,
        errors.REFUSED_BY_SETUP,
        errors.PASSING,
    ]
    assert sum(map(len, rows)) == len(frozenset[int]().union(*rows))
