"""Services around Caseworks: publishing, and results that outlive a loop that was left."""

from __future__ import annotations

from caseworks.client import Subscription, new_event, publish
from coordinator.effects import Publish
from coordinator.records import Writer
from events.broker import TopicPartition
from events.memory import MemoryBroker
from events.settings import Settings
from events.topics import Topics, TopicSpec
from tests.unit.machine import START, Machine

SETTINGS = Settings(namespace="cw")


def broker() -> MemoryBroker:
    made = MemoryBroker()
    specs = [TopicSpec(name, "", 1, "") for name in ("cw.events", "cw.results.ticket")]
    made.admin().create(specs)
    return made


def test_a_published_event_is_there_when_publish_returns() -> None:
    kafka = broker()
    case_id = publish(new_event("order.placed", {"a": 1}), broker=kafka, settings=SETTINGS)

    assert len(case_id) == 36
    assert kafka.reader().end(TopicPartition("cw.events", 0), committed=True) == 1


def test_results_outlive_a_loop_that_was_left() -> None:
    kafka = broker()
    machine = Machine()
    machine.at(START + 3600)
    effect = machine.effects[-1]
    assert isinstance(effect, Publish)
    producer = kafka.producer()
    for number in range(1, 4):
        numbered = Publish(effect.result, number)
        producer.produce(Writer(Topics("cw")).result(machine.case, machine.plan, numbered, START))
    subscription = Subscription(kafka, SETTINGS, "ticket", "crm")
    first, again = iter(subscription), iter(subscription)
    seen = [next(first).id[-1], next(first).id[-1], next(again).id[-1], next(again).id[-1]]

    assert seen == ["1", "2", "2", "3"]
