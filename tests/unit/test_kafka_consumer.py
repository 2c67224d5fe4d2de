"""The consumer of the Kafka adapter over a scripted client: no broker needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import confluent_kafka as ck
import pytest
from confluent_kafka import KafkaError, KafkaException

from events.broker import ConsumerSpec, Message, TopicPartition
from events.errors import (
    CaseworksError,
    DuplicateNameError,
    FatalBrokerError,
    FencedError,
    SetupError,
)
from events.kafka.consumer import KafkaConsumer

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeClient:
    """Stands for the library's consumer: each call of `poll` or `consume` runs the next step."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.stable = True
        self.begins = 3
        self.polls: list[Callable[[], Any]] = []
        self.consumes: list[Callable[[], list[Any]]] = []
        self.calls: list[tuple[str, Any]] = []
        self.member = "m-1"
        self.callbacks: dict[str, Callable[[Any, list[ck.TopicPartition]], None]] = {}

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def serve(self, kind: str, *at: TopicPartition) -> None:
        self.callbacks[kind](self, [ck.TopicPartition(*each) for each in at])

    def poll(self, timeout_s: float) -> Any:
        return self.polls.pop(0)()

    def consume(self, n: int, timeout_s: float) -> list[Any]:
        return self.consumes.pop(0)()

    def consumer_group_metadata(self) -> str:
        return f"metadata of {self.member}"

    def memberid(self) -> str:
        return self.member

    def assign(self, parts: list[ck.TopicPartition]) -> None:
        self.calls.append(("assign", [(p.partition, p.offset) for p in parts]))

    def position(self, parts: list[ck.TopicPartition]) -> list[ck.TopicPartition]:
        return [
            ck.TopicPartition(p.topic, p.partition, self.positions.get(p.partition, -1001))
            for p in parts
        ]

    def committed(self, parts: list[ck.TopicPartition], timeout: float) -> list[ck.TopicPartition]:
        if not self.stable:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [ck.TopicPartition(p.topic, p.partition, 100) for p in parts]

    def get_watermark_offsets(self, part: ck.TopicPartition, timeout: float) -> tuple[int, int]:
        if self.begins < 0:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.begins, 1000

    def pause(self, parts: list[ck.TopicPartition]) -> None:
        self.calls.append(("pause", [p.partition for p in parts]))

    def resume(self, parts: list[ck.TopicPartition]) -> None:
        self.calls.append(("resume", [p.partition for p in parts]))

    def seek(self, part: ck.TopicPartition) -> None:
        self.calls.append(("seek", (part.partition, part.offset)))

    def commit(self, offsets: list[ck.TopicPartition], asynchronous: bool) -> None:
        raise KafkaException(FENCE)

    def close(self) -> None:
        self.calls.append(("close", None))
        self.serve("on_revoke", P0)


class Harness:
    def __init__(self, *, paused: bool = False) -> None:
        self.client = FakeClient()
        self.made = 0
        self.troubles: list[str] = []
        self.consumer = KafkaConsumer(
            {},
            ConsumerSpec("g", ("t",), paused_on_assign=paused),
            trouble=self.troubles.append,
            make=self.make,
        )

    def make(self, _config: object) -> FakeClient:
        self.made += 1
        return self.client

    def assign(self, *at: TopicPartition) -> None:
        self.client.polls.append(lambda: self.client.serve("on_assign", *at))
        self.consumer.take(10, 0)


def raw(partition: int, offset: int, error: KafkaError | None = None) -> Any:
    return ck.Message("t", partition, offset, b"k", b"v", [("h", b"1")], error, (1, 1234))


def places(messages: Any) -> list[tuple[int, int, int]]:
    return [(m.partition, m.offset, m.epoch) for m in messages]


def test_a_message_is_converted_with_everything_it_carries() -> None:
    harness = Harness()
    harness.assign(P0)
    harness.client.polls.append(lambda: raw(0, 5))
    taken = harness.consumer.take(1, 0)
    assert list(taken.messages) == [Message("t", 0, 5, 1234, b"k", b"v", (("h", b"1"),), epoch=1)]


def test_a_revoke_in_the_middle_of_a_batch_drops_what_was_taken_before() -> None:
    harness = Harness()
    harness.assign(P0, P1)

    def revoke_then_return() -> list[Any]:
        harness.client.serve("on_revoke", P0)
        return [raw(0, 6), raw(1, 3)]

    harness.client.polls.append(lambda: raw(0, 5))
    harness.client.consumes.append(revoke_then_return)
    taken = harness.consumer.take(10, 0)
    assert places(taken.messages) == [(1, 3, 1)]
    assert taken.assignment == {P1: 1}


def test_what_is_assigned_in_the_middle_of_a_batch_is_not_read_before_the_next_take() -> None:
    harness = Harness()
    harness.assign(P0)

    def revoke_and_assign() -> list[Any]:
        harness.client.serve("on_revoke", P0)
        harness.client.serve("on_assign", P0)
        return [raw(0, 6)]

    harness.client.polls += [lambda: raw(0, 5), lambda: None]
    harness.client.consumes.append(revoke_and_assign)
    taken = harness.consumer.take(10, 0)
    assert (list(taken.messages), taken.assignment) == ([], {P0: 2})
    assert harness.client.calls[-1] == ("assign", [])
    harness.consumer.take(10, 0)
    assert harness.client.calls[-1] == ("assign", [(0, 100)])


def test_a_new_assignment_is_read_within_the_take_that_brought_it() -> None:
    harness = Harness()
    harness.assign(P0)
    assert harness.client.calls == [("assign", []), ("assign", [(0, 100)])]


def test_a_consumer_reads_on_from_where_its_group_stands_as_soon_as_that_is_known() -> None:
    harness = Harness()
    harness.client.stable = False
    harness.assign(P0, P1)
    assert harness.client.calls == [("assign", [])]
    harness.client.stable = True
    harness.client.polls.append(lambda: None)
    harness.consumer.take(10, 0)
    assert harness.client.calls[-1] == ("assign", [(0, 100), (1, 100)])


def test_a_regained_partition_has_a_new_epoch_and_a_lost_one_is_named_once() -> None:
    harness = Harness()
    harness.assign(P0)
    harness.client.polls += [lambda: harness.client.serve("on_lost", P0), lambda: None]
    first, second = harness.consumer.take(10, 0), harness.consumer.take(10, 0)
    assert first.lost == frozenset({P0})
    assert first.assignment == {}
    assert second.lost == frozenset()
    harness.assign(P0)
    harness.client.polls.append(lambda: None)
    assert harness.consumer.take(10, 0).assignment == {P0: 2}


def test_the_handler_is_told_of_a_revoke_but_not_of_a_loss_nor_of_closing() -> None:
    harness = Harness()
    told: list[frozenset[TopicPartition]] = []
    harness.consumer.on_revoke(told.append)
    harness.assign(P0, P1)
    harness.client.polls += [
        lambda: harness.client.serve("on_revoke", P1),
        lambda: harness.client.serve("on_lost", P0),
    ]
    harness.consumer.take(10, 0)
    harness.consumer.take(10, 0)
    harness.consumer.close()
    assert told == [frozenset({P1})]


def test_membership_lasts_from_the_assignment_to_the_revoke() -> None:
    harness = Harness()
    assert harness.consumer.group_metadata() is None
    harness.assign(P0)
    harness.client.member = ""  # lost, but not served yet
    assert harness.consumer.group_metadata() == "metadata of m-1"
    harness.client.polls.append(lambda: harness.client.serve("on_lost", P0))
    harness.consumer.take(10, 0)
    assert harness.consumer.group_metadata() is None


def test_an_assignment_of_a_member_that_is_none_any_more_is_not_taken() -> None:
    harness = Harness()
    harness.client.member = ""
    harness.client.polls.append(lambda: harness.client.serve("on_assign", P0))
    assert harness.consumer.take(10, 0).assignment == {}
    assert harness.client.calls == [("assign", [])]


def test_a_loop_that_restores_gets_nothing_until_it_opens() -> None:
    harness = Harness(paused=True)
    harness.assign(P0, P1)
    assert harness.client.calls == [("assign", [])]
    harness.consumer.open({P0: 42, TopicPartition("t", 9): 1})
    assert harness.client.calls[1:] == [("assign", [(0, 42)])]


def test_the_beginning_is_looked_up_and_given_as_a_number() -> None:
    harness = Harness(paused=True)
    harness.assign(P0)
    harness.client.begins = -1  # no answer
    harness.consumer.open({P0: None})
    assert harness.client.calls == [("assign", [])]
    harness.client.begins = 3
    harness.client.polls += [lambda: None, lambda: None]
    harness.consumer.take(10, 0)
    harness.consumer.take(10, 0)
    assert harness.client.calls[1:] == [("assign", [(0, 3)])]


def test_opening_one_partition_again_leaves_the_others_where_they_are() -> None:
    harness = Harness(paused=True)
    harness.assign(P0, P1)
    harness.consumer.open({P0: 42, P1: 7})
    harness.client.positions = {1: 9}
    harness.client.calls.clear()
    harness.consumer.open({P0: 40})
    assert harness.client.calls == [("assign", [(0, 40), (1, 9)])]


def test_opening_ends_a_pause_and_another_assignment_does_not_remember_it() -> None:
    harness = Harness(paused=True)
    harness.assign(P0, P1)
    harness.consumer.open({P0: 42, P1: 7})
    harness.consumer.pause([P0, P1])
    harness.client.calls.clear()
    harness.consumer.open({P0: 40})
    assert harness.client.calls == [("resume", [0]), ("assign", [(0, 40), (1, 7)])]
    harness.client.polls.append(lambda: harness.client.serve("on_lost", P0, P1))
    harness.consumer.take(10, 0)
    assert harness.client.calls[-1] == ("resume", [1])


def test_resuming_seeks_to_where_reading_had_come() -> None:
    harness = Harness()
    harness.assign(P0, P1)
    harness.consumer.pause([P0, P1])
    harness.client.positions = {0: 120}
    harness.client.calls.clear()
    harness.consumer.resume([P0, P1])
    assert harness.client.calls == [("resume", [0, 1]), ("seek", (0, 120)), ("seek", (1, 100))]


def test_an_error_among_messages_is_counted_and_the_messages_are_kept() -> None:
    harness = Harness()
    harness.assign(P0)
    harness.client.polls.append(lambda: raw(0, 5))
    harness.client.consumes.append(
        lambda: [raw(0, 6, KafkaError(KafkaError._MAX_POLL_EXCEEDED)), raw(0, 7)]
    )
    assert places(harness.consumer.take(10, 0).messages) == [(0, 5, 1), (0, 7, 1)]
    assert harness.troubles == ["_MAX_POLL_EXCEEDED"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaError(KafkaError.FENCED_INSTANCE_ID), DuplicateNameError),
        (KafkaError(KafkaError._FATAL), FatalBrokerError),
        (KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), SetupError),
    ],
)
def test_an_error_that_ends_a_consumer_is_raised(
    error: KafkaError, kind: type[CaseworksError]
) -> None:
    harness = Harness()
    harness.assign(P0)
    harness.client.polls.append(lambda: raw(0, 5, error))
    with pytest.raises(kind, match="consumer of g"):
        harness.consumer.take(1, 0)


FENCE = KafkaError(KafkaError.FENCED_INSTANCE_ID)


@pytest.mark.parametrize("ended_by", ["on_lost", "on_revoke"])
def test_a_fence_after_the_membership_ended_is_its_own_and_answered_by_joining_anew(
    ended_by: str,
) -> None:
    harness = Harness()
    harness.assign(P0)

    def end_then_fence() -> Any:
        harness.client.serve(ended_by, P0)
        return raw(0, 5, FENCE)

    harness.client.polls += [end_then_fence, lambda: harness.client.serve("on_assign", P0)]
    assert harness.consumer.take(1, 0).assignment == {}
    assert (harness.made, harness.troubles) == (2, ["FENCED_BY_ITSELF"])
    assert harness.consumer.take(1, 0).assignment == {P0: 2}


def test_resuming_at_the_very_first_record_seeks_twice_since_one_seek_to_0_wakes_nobody() -> None:
    harness = Harness(paused=True)
    harness.assign(P0)
    harness.consumer.open({P0: 0})
    harness.consumer.pause([P0])
    harness.client.calls.clear()
    harness.consumer.resume([P0])
    assert harness.client.calls == [("resume", [0]), ("seek", (0, 1)), ("seek", (0, 0))]


def test_a_fence_soon_after_joining_anew_is_another_process() -> None:
    harness = Harness()
    harness.client.polls += [lambda: raw(0, 5, FENCE), lambda: raw(0, 5, FENCE)]
    harness.consumer.take(1, 0)
    with pytest.raises(DuplicateNameError):
        harness.consumer.take(1, 0)


def test_a_fence_in_the_middle_of_a_batch_is_another_process_although_it_ends_membership() -> None:
    harness = Harness()
    harness.assign(P0)

    def fence_then_lose() -> list[Any]:
        harness.client.serve("on_lost", P0)
        return [raw(0, 5, FENCE)]

    harness.client.polls.append(lambda: raw(0, 5))
    harness.client.consumes.append(fence_then_lose)
    with pytest.raises(DuplicateNameError):
        harness.consumer.take(10, 0)


def test_a_commit_that_is_refused_for_its_name_leaves_it_to_the_take_to_say_whose_it_is() -> None:
    harness = Harness()
    harness.assign(P0)
    with pytest.raises(FencedError, match="the next take says why"):
        harness.consumer.commit({P0: 5})


def test_headers_that_cannot_be_read_do_not_stop_the_partition() -> None:
    class Unreadable:
        """As the library behaves: it fails once, and must not be asked again."""

        def __init__(self, offset: int) -> None:
            self._real = raw(0, offset)
            self.asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def headers(self) -> Any:
            self.asked += 1
            raise SystemError("returned a result with an exception set")

    harness = Harness()
    harness.assign(P0)
    bad = [Unreadable(6), Unreadable(8)]
    harness.client.polls.append(lambda: raw(0, 5))
    harness.client.consumes.append(lambda: [bad[0], raw(0, 7), bad[1]])
    messages = harness.consumer.take(10, 0).messages
    assert [(m.offset, len(m.headers)) for m in messages] == [(5, 1), (6, 0), (7, 1), (8, 0)]
    assert [each.asked for each in bad] == [1, 1]
