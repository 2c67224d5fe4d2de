"""The dice: what strikes, how often, and what is left out."""

from __future__ import annotations

from random import Random

import pytest

from events.broker import ConsumerSpec, Record, TopicPartition
from events.errors import AbortableError, FatalBrokerError, RetriableError
from events.memory import Dice, Faults, MemoryBroker
from events.topics import TopicSpec

SOURCE = TopicPartition("t", 0)


def broker_with(faults: Faults) -> MemoryBroker:
    broker = MemoryBroker(lambda: 0.0, dice=Dice(Random(1), faults))
    broker.admin().create([TopicSpec("t", "", 1, "")])
    return broker


def written(broker: MemoryBroker) -> int:
    return len(broker.log(SOURCE).read(0, 100).messages)


def test_a_commit_that_timed_out_and_is_repeated_happens_once() -> None:
    broker = broker_with(Faults(commit_timeout=1.0, fired_max=1))
    producer = broker.transactional("tx")
    producer.init()
    producer.begin()
    producer.produce([Record("t", b"k", b"v")])
    with pytest.raises(RetriableError):
        producer.commit()
    assert written(broker) == 1

    producer.commit()

    assert written(broker) == 1
    producer.begin()


def test_a_commit_that_was_not_carried_out_is_when_repeated() -> None:
    broker = broker_with(Faults(retriable=1.0, fired_max=1))
    broker.link.spared = True
    producer = broker.transactional("tx")
    producer.init()
    producer.begin()
    producer.produce([Record("t", b"k", b"v")])
    broker.link.spared = False
    with pytest.raises(RetriableError):
        producer.commit()
    assert written(broker) == 0

    producer.commit()

    assert written(broker) == 1


def test_a_commit_that_timed_out_must_not_be_aborted() -> None:
    broker = broker_with(Faults(commit_timeout=1.0, fired_max=1))
    producer = broker.transactional("tx")
    producer.init()
    producer.begin()
    producer.produce([Record("t", b"k", b"v")])
    with pytest.raises(RetriableError):
        producer.commit()

    with pytest.raises(FatalBrokerError, match="abort while committed"):
        producer.abort()


def test_a_refused_commit_must_be_aborted_before_anything_else() -> None:
    broker = broker_with(Faults(abort_commit=1.0, fired_max=1))
    producer = broker.transactional("tx")
    producer.init()
    producer.begin()
    producer.produce([Record("t", b"k", b"v")])
    with pytest.raises(AbortableError):
        producer.commit()
    with pytest.raises(AbortableError, match="abort comes before commit"):
        producer.commit()
    producer.abort()

    assert written(broker) == 0


def test_a_record_that_was_given_up_may_have_been_written() -> None:
    broker = broker_with(Faults(lost_delivery=1.0, fired_max=40))
    producer = broker.producer()
    reports: list[Exception | None] = []
    for _ in range(40):
        producer.produce(Record("t", b"k", b"v"), reports.append)
    producer.flush(0)

    assert all(isinstance(report, RetriableError) for report in reports)
    assert 5 < written(broker) < 35


def test_a_slow_record_arrives_with_the_flush() -> None:
    broker = broker_with(Faults(slow_delivery=1.0))
    producer = broker.producer()
    reports: list[Exception | None] = []
    producer.produce(Record("t", b"k", b"v"), reports.append)
    producer.poll()
    assert (written(broker), reports) == (0, [])

    assert producer.flush(1.0) == 0

    assert (written(broker), reports) == (1, [None])


def test_records_on_their_way_may_arrive_after_the_kill_but_only_in_order() -> None:
    seen = set()
    for seed in range(30):
        dice = Dice(Random(seed), Faults(slow_delivery=1.0))
        broker = MemoryBroker(lambda: 0.0, dice=dice)
        broker.admin().create([TopicSpec("t", "", 1, "")])
        process = broker.connect("p")
        producer = process.producer()
        for n in range(3):
            producer.produce(Record("t", b"k", b"%d" % n))
        process.link.cut()
        values = tuple(m.value for m in broker.log(SOURCE).read(0, 10).messages)
        assert values == (b"0", b"1", b"2")[: len(values)]
        seen.add(len(values))

    assert seen == {0, 1, 2, 3}


def test_the_first_half_of_a_take_is_dropped_when_its_partition_went() -> None:
    broker = broker_with(Faults())
    broker.producer().produce(Record("t", b"k", b"v"))
    spec = ConsumerSpec("g", ("t",))
    first = broker.consumer(spec)
    assert first.take_first()

    broker.rebalance("g")
    second = broker.consumer(spec)
    second.take(1, 0)
    taken = first.take(10, 0)

    assert taken.assignment == {SOURCE: 2}
    assert [(m.value, m.epoch) for m in taken.messages] == [(b"v", 2)]


def test_a_calm_cluster_strikes_no_more() -> None:
    dice = Dice(Random(1), Faults(kill=1.0))
    assert dice.strikes("kill", "p")

    dice.calm()

    assert not dice.strikes("kill", "p")
