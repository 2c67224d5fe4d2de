"""The memory broker between real threads, on the wall clock."""

from __future__ import annotations

import time
from threading import Event, Thread

from events.broker import ConsumerSpec, Record, TopicPartition
from events.memory import Limits, MemoryBroker
from events.topics import TopicSpec


def broker_with(partitions: int, limits: Limits | None = None) -> MemoryBroker:
    broker = MemoryBroker(limits=limits)
    broker.admin().create([TopicSpec("t", "", partitions, "")])
    return broker


def test_a_waiting_take_wakes_when_a_record_comes() -> None:
    broker = broker_with(1)
    consumer = broker.consumer(ConsumerSpec("g", ("t",)))
    consumer.take(1, 0)
    waiting = Event()

    def produce() -> None:
        waiting.wait(10)
        broker.producer().produce(Record("t", b"k", b"v"))

    thread = Thread(target=produce)
    thread.start()
    began = time.monotonic()
    waiting.set()
    messages = consumer.take(1, 20).messages
    thread.join(10)

    assert [m.value for m in messages] == [b"v"]
    assert time.monotonic() - began < 10


def test_a_take_of_nothing_waits_as_long_as_it_was_told() -> None:
    consumer = broker_with(1).consumer(ConsumerSpec("g", ("t",)))
    consumer.take(1, 0)

    began = time.monotonic()
    consumer.take(1, 0.1)

    assert 0.1 <= time.monotonic() - began < 5


def test_a_waiting_take_sees_what_only_time_brings() -> None:
    broker = broker_with(1, Limits(transaction_timeout_s=0.1, transaction_check_s=0.1))
    consumer = broker.consumer(ConsumerSpec("g", ("t",)))
    consumer.take(1, 0)
    producer = broker.transactional("t")
    producer.init()
    producer.begin()
    producer.produce([Record("t", b"k", b"abandoned")])
    broker.producer().produce(Record("t", b"k", b"behind"))

    assert [m.value for m in consumer.take(10, 20).messages] == [b"behind"]


def test_threads_share_a_group_and_lose_nothing() -> None:
    broker = broker_with(4)
    everything = {b"%d" % n for n in range(2000)}
    seen: list[bytes | None] = []
    enough = Event()

    def consume() -> None:
        consumer = broker.consumer(ConsumerSpec("g", ("t",)))
        while not enough.is_set():
            taken = consumer.take(50, 0.05)
            seen.extend(m.value for m in taken.messages)
            positions = {m.source: m.offset + 1 for m in taken.messages}
            if positions:
                consumer.commit(positions)
        consumer.close()

    threads = [Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    producer = broker.producer()
    for value in sorted(everything):
        producer.produce(Record("t", value, value))
    deadline = time.monotonic() + 20
    while set(seen) != everything and time.monotonic() < deadline:
        time.sleep(0.01)
    enough.set()
    for thread in threads:
        thread.join(10)

    assert set(seen) == everything


def test_the_revoke_handler_may_wait_for_a_thread_that_produces() -> None:
    broker = broker_with(2)
    first = broker.consumer(ConsumerSpec("g", ("t",)))
    first.take(1, 0)

    def drain(going: frozenset[TopicPartition]) -> None:
        thread = Thread(target=lambda: broker.producer().produce(Record("t", b"k", b"last")))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    first.on_revoke(drain)
    broker.consumer(ConsumerSpec("g", ("t",))).take(1, 0)
    first.take(1, 0)

    assert sum(broker.log(TopicPartition("t", p)).end for p in (0, 1)) == 1
