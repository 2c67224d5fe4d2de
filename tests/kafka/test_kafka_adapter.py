"""What is Kafka's own in the adapter; what every broker must do stands in `tests/contract`."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from events.broker import Record, TopicPartition
from events.errors import (
    DuplicateNameError,
    UnreadDeletedError,
)
from tests.kafka.kafka_world import WAIT_S, World, joined, numbered, read, seconds, take_until

# ---- messages


def test_what_is_produced_comes_back_as_it_was(world: World) -> None:
    topic = world.topic()
    headers = (("a", b"1"), ("a", b""), ("ä", b"\xff"))
    world.put(
        Record(topic, b"key", b"value", headers),
        Record(topic, None, None),
        Record(topic, b"", b""),
    )
    first, null, empty = read(world.member(topic), 3)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, first.headers) == (b"key", b"value", headers)
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60
    assert (null.key, null.value, null.headers) == (None, None, ())
    assert (empty.key, empty.value) == (b"", b"")


@pytest.mark.parametrize("transactional", [False, True])
def test_keys_go_where_java_sends_them(world: World, transactional: bool) -> None:
    topic = world.topic(partitions=16)
    # Vectors of Java's own test of its hash.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"abc": 479470107}
    records = [Record(topic, key, b"v") for key in hashes]
    if transactional:
        world.commit_transaction("w", *records)
    else:
        world.put(*records)
    places = {m.key: m.partition for m in read(world.member(topic), len(hashes))}
    assert places == {key: (value & 0x7FFFFFFF) % 16 for key, value in hashes.items()}


# ---- takes and positions


def test_a_take_does_not_wait_for_more_than_there_is(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 1))
    consumer = world.member(topic)
    read(consumer, 1)
    world.put(*numbered(topic, 3))
    started = time.monotonic()
    assert len(consumer.take(1000, 10).messages) >= 1
    assert time.monotonic() - started < 2


def test_a_paused_assignment_delivers_from_where_it_is_opened(world: World) -> None:
    topic = world.topic(partitions=3)
    world.put(*(record for p in range(3) for record in numbered(topic, 10, p)))
    consumer = world.member(topic, paused=True)
    joined(consumer)
    assert [consumer.take(10, 0.05).messages for _ in range(3)] == [[], [], []]
    positions = dict(zip((TopicPartition(topic, p) for p in range(3)), (None, 0, 7), strict=True))
    consumer.open(positions)
    messages = read(consumer, 23)
    firsts = [min(m.offset for m in messages if m.partition == p) for p in range(3)]
    assert firsts == [0, 0, 7]


def test_opening_again_goes_back(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 10))
    consumer = world.member(topic)
    assert len(read(consumer, 10)) == 10
    consumer.open({TopicPartition(topic, 0): 4})
    assert [m.offset for m in read(consumer, 6)] == [4, 5, 6, 7, 8, 9]


def test_resuming_and_opening_do_not_wait_for_the_clients_own_second_look(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 5))
    consumer = world.member(topic)
    read(consumer, 5)
    at = TopicPartition(topic, 0)

    def wait_for_one(wake: Callable[[], None]) -> float:
        consumer.pause([at])
        for _ in range(3):
            assert not consumer.take(10, 0.05).messages
        world.put(*numbered(topic, 1))
        started = time.monotonic()
        wake()
        read(consumer, 1)
        return time.monotonic() - started

    waits = [wait_for_one(lambda: consumer.resume([at])) for _ in range(4)]
    waits += [wait_for_one(lambda: consumer.open({at: 0})) for _ in range(4)]
    assert max(waits) < 0.8, "the client looks again by itself after a second"


def test_a_position_whose_records_are_gone_is_an_error_for_a_loop_that_restores(
    world: World,
) -> None:
    topic = world.topic()
    consumer = world.member(topic, paused=True)
    joined(consumer)
    consumer.open({TopicPartition(topic, 0): 1000})
    with pytest.raises(UnreadDeletedError, match="made anew or cut"):
        take_until(consumer, lambda _: False)


def test_commits_stay_quick_while_polling_is_saturated(world: World) -> None:
    topic = world.topic()
    world.put(*numbered(topic, 30_000))
    consumer = world.member(topic)
    at = TopicPartition(topic, 0)
    waits = []
    for taken in take_until(consumer, lambda t: bool(t.messages)):
        last = taken
    while last.messages and last.messages[-1].offset < 29_999:
        last = consumer.take(500, 5)
        position = last.messages[-1].offset + 1
        waits.append(seconds(lambda p=position: consumer.commit({at: p})))  # type: ignore[misc]
    assert len(waits) >= 50
    assert sorted(waits)[len(waits) // 2] < 0.05
    assert consumer.committed([at]) == {at: 30_000}


# ---- membership


def test_a_second_member_takes_over_its_share_and_the_first_one_commits_before(
    world: World,
) -> None:
    topic = world.topic(partitions=2)
    all_of_it = {TopicPartition(topic, p) for p in range(2)}
    first = world.member(topic)
    assert joined(first).assignment == dict.fromkeys(all_of_it, 1)
    first.on_revoke(lambda going: first.commit(dict.fromkeys(going, 5)))
    second = world.member(topic)
    deadline = time.monotonic() + WAIT_S
    ours, theirs = first.take(10, 0.05), second.take(10, 0.05)
    while not (theirs.assignment and len(ours.assignment) == 1):
        assert time.monotonic() < deadline
        ours, theirs = first.take(10, 0.05), second.take(10, 0.05)
    assert set(ours.assignment) | set(theirs.assignment) == all_of_it
    assert set(ours.assignment.values()) == {2}, "kept or not, it is a new assignment"
    assert second.committed(all_of_it) == dict.fromkeys(all_of_it, 5)


def test_the_restart_of_a_named_member_moves_nothing(world: World) -> None:
    topic = world.topic(partitions=2)
    one, two = world.member(topic, instance="one"), world.member(topic, instance="two")
    deadline = time.monotonic() + WAIT_S
    while True:
        ours, theirs = one.take(10, 0.05), two.take(10, 0.05)
        if len(ours.assignment) == len(theirs.assignment) == 1:
            break
        assert time.monotonic() < deadline
    one.close()
    again = world.member(topic, instance="one")
    started = time.monotonic()
    assert set(joined(again).assignment) == set(ours.assignment)
    assert time.monotonic() - started < 4, "it did not wait for its old session"
    assert two.take(10, 0.5).assignment == theirs.assignment


def test_the_older_of_two_members_of_one_name_is_told(world: World) -> None:
    topic = world.topic()
    older = world.member(topic, instance="twin")
    joined(older)
    joined(world.member(topic, instance="twin"))
    with pytest.raises(DuplicateNameError, match="fenced"):
        take_until(older, lambda _: False)


def test_a_dynamic_member_leaves_at_once(world: World) -> None:
    topic = world.topic()
    leaver = world.member(topic)
    joined(leaver)
    assert world.admin.members(f"{world.ns}.g") == 1
    assert seconds(leaver.close) < 2
    assert world.admin.members(f"{world.ns}.g") == 0
