"""Dead letters of a whole app: put right, given back, dropped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, Lock, Thread
from threading import Event as Flag
from typing import Any

from pydantic import BaseModel

from caseworks import App, Wait, new_event
from caseworks.client import Publisher, delivered
from caseworks.compose import build
from caseworks.dead_mail.audit import Audit
from events.broker import Broker, TransactionalProducer
from events.errors import PermanentError
from events.memory import MemoryBroker
from events.settings import Settings
from schemas.base import instant
from schemas.commands import Opened, Replay
from schemas.event import Event
from schemas.result import Result
from tests.unit.command_line import COUNTS, TOPICS, state_record
from tests.unit.dead_cases import letter_of
from tests.unit.machine import Machine
from tests.unit.mortal import WHOLE, Mortal, all_of, typed

FEW = Settings(
    inbox_partitions=COUNTS.inbox,
    events_partitions=COUNTS.events,
    tasks_partitions=COUNTS.tasks,
    results_partitions=COUNTS.results,
)
TIMEOUT_S = 60.0
OPENED, REPLAY = Opened.ce_type, Replay.ce_type


class Order(BaseModel):
    """The data of an order."""

    item: str


@dataclass
class Shop:
    """An app whose second step is broken until somebody puts it right."""

    mended: Flag = field(default_factory=Flag)
    calls: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def count(self, name: str) -> None:
        """One call more."""
        with self.lock:
            self.calls[name] += 1

    def app(self) -> App:
        """The app of this shop."""
        app = App("shop")

        @app.agent()
        async def price(order: Order) -> int:
            """What it costs."""
            self.count("price")
            return len(order.item)

        @app.agent()
        async def ship(order: Order, price: int) -> str:
            """Ship it."""
            self.count("ship")
            if not self.mended.is_set() and order.item != "good":
                raise PermanentError("the carrier's address is wrong")
            return f"{order.item} for {price}"

        app.workflow("order", on={"order.placed": Order}, steps=[price, ship])
        return app


@contextmanager
def running(app: App, broker: MemoryBroker, **more: Any) -> Iterator[Settings]:
    """Coordinator and worker on threads, as `caseworks.testing.play` runs them."""
    settings = FEW.model_copy(update=more)
    coordinator, worker = (build(app, settings, broker=broker) for _ in range(2))
    coordinator.ensure_topics()
    stop = Flag()
    threads = [
        Thread(target=coordinator.run_coordinator, args=(stop,)),
        Thread(target=worker.run_worker, args=(sorted(app.agents), stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield settings
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def publish(broker: Broker, settings: Settings, events: Sequence[Event]) -> None:
    publisher = Publisher(broker, settings)
    for event in events:
        publisher.send(event)
    publisher.flush()
    publisher.close()


def until(there: Callable[[], bool]) -> None:
    """Wait for it, within bounds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def results(broker: Broker, count: int) -> list[Result]:
    """Every result, once there are so many."""
    topic = TOPICS.results("order")
    until(lambda: len(all_of(broker, topic)) >= count)
    return [delivered(message).result for message in all_of(broker, topic)]


def test_a_dead_task_is_replayed_and_its_result_amends_the_first() -> None:
    shop, broker = Shop(), MemoryBroker()
    with running(shop.app(), broker) as settings:
        publish(broker, settings, [new_event("order.placed", {"item": "lamp"}, id="e1")])
        [first] = results(broker, 1)
        [letter] = all_of(broker, TOPICS.dlq(TOPICS.tasks("ship")))
        place = f"{letter.topic}:{letter.partition}:{letter.offset}"
        patch = ("--patch", '{"item": "good"}')
        assert typed(broker, "dlq", "replay", place, *patch, now=time.time()) == 0
        _, second = results(broker, 2)
    assert (first.status, second.status) == ("escalated", "completed")
    assert second.amends == f"{first.case_id}:1"
    assert second.output == "good for 4"
    assert shop.calls == {"price": 1, "ship": 2}


def test_200_letters_survive_a_replay_that_is_killed_half_way() -> None:
    shop, broker, count = Shop(), MemoryBroker(), 200
    shop.mended.set()
    app = shop.app()
    machines = [shipless(app, f"e{number}") for number in range(count)]
    coordinator = build(app, FEW, broker=broker)
    coordinator.ensure_topics()
    producer = broker.producer()
    for machine in machines:
        producer.produce(state_record(machine.case))
        producer.produce(letter_of(machine))
    with running(app, broker) as settings:
        mortal = Mortal(broker.connect("killed"), 1 + 4 + 4 + 3)
        assert typed(mortal, *WHOLE, now=time.time()) != 0
        assert sum(1 for _ in Audit(broker, settings).entries()) == 1 + 100
        assert typed(broker, "dlq", "replay", "--resume", "r", "--yes", now=time.time()) == 0
        found = results(broker, count)
    assert Counter(r.case_id for r in found) == Counter(m.case.case_id for m in machines)
    assert {(r.status, r.amends == f"{r.case_id}:1") for r in found} == {("completed", True)}
    assert shop.calls == {"ship": count}


def shipless(app: App, event_id: str) -> Machine:
    """A case of the shop that was priced, and whose shipping died."""
    [plan] = app.plans
    event = new_event("order.placed", {"item": "lamp"}, id=event_id)
    machine = Machine(plan, time.time(), event)
    machine.says("price", output=4, confidence=1.0)
    machine.says("ship", "failed")
    return machine


def test_a_dropped_letter_lets_its_case_go() -> None:
    shop, broker = Shop(), MemoryBroker()
    with running(shop.app(), broker) as settings:
        event = new_event("order.placed", {"item": "lamp"}, id="e1")
        publish(broker, settings, [event])
        results(broker, 1)
        args = ("dlq", "drop", "--all", "--why", "no use", "--yes")
        assert typed(broker, *args, now=time.time()) == 0
        until(lambda: last_state(broker, event).startswith(b'{"closed":'))


def last_state(broker: Broker, event: Event) -> bytes:
    """What the changelog holds of an event's case."""
    key = event.case_id.encode()
    return [m.value or b"" for m in all_of(broker, TOPICS.cases) if m.key == key][-1]


class Payment(BaseModel):
    """The data of a payment."""

    amount: int


def test_an_event_that_nobody_waited_for_finds_its_case_when_it_is_replayed() -> None:
    app, broker, now = App("shop"), MemoryBroker(), time.time()

    @app.agent()
    async def ship(order: Order, payment: Payment) -> int:
        """Ship it."""
        return payment.amount

    wait = Wait("paid", Payment, name="payment", timeout_s=600)
    app.workflow("order", on={"order.placed": Order}, steps=[wait, ship])
    with running(app, broker, signal_keep_s=0.2) as settings:
        publish(broker, settings, [new_event("paid", {"amount": 7}, id="p1", subject="s1")])
        until(lambda: bool(all_of(broker, TOPICS.dlq(TOPICS.events))))
        late = new_event("order.placed", {"item": "lamp"}, id="e1", subject="s1")
        publish(broker, settings, [late.evolve(time=instant(now - 60))])
        until(lambda: any(m.key == late.case_id.encode() for m in all_of(broker, TOPICS.cases)))
        args = ("--reason", "no_waiter", "--why", "its case came late", "--yes")
        assert typed(broker, "dlq", "replay", *args, now=now) == 0
        [result] = results(broker, 1)
    assert (result.status, result.output) == ("completed", 7)


@dataclass
class Together:
    """A connection whose process waits, before it writes anything, for another one at that place.

    Then both have read the audit, and neither knows what the other one is about to do.
    """

    inner: Broker
    meeting: Barrier

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def transactional(self, transactional_id: str) -> TransactionalProducer:
        self.meeting.wait(TIMEOUT_S)
        return self.inner.transactional(transactional_id)


def test_two_people_who_replay_everything_at_once_have_one_effect_on_each() -> None:
    shop, broker, count = Shop(), MemoryBroker(), 40
    shop.mended.set()
    app = shop.app()
    build(app, FEW, broker=broker).ensure_topics()
    producer = broker.producer()
    for number in range(count):
        machine = shipless(app, f"e{number}")
        producer.produce(state_record(machine.case))
        producer.produce(letter_of(machine))
    meeting, codes = Barrier(2), list[int]()

    def replay(who: str) -> None:
        together = Together(broker.connect(who), meeting)
        chosen = ("--all", "--why", "fixed", "--by", who, "--name", who, "--yes")
        codes.append(typed(together, "dlq", "replay", *chosen, now=time.time()))

    with running(app, broker):
        people = [Thread(target=replay, args=(who,)) for who in ("ann", "bob")]
        for each in people:
            each.start()
        for each in people:
            each.join(TIMEOUT_S)
        results(broker, count)
        commands = [m for m in all_of(broker, TOPICS.inbox) if m.header("ce_type") == REPLAY]
        until(lambda: all_worked_on(broker))
    assert codes == [0, 0]
    assert len(commands) == 2 * count
    assert len({Replay.from_json(m.value or b"").command_id for m in commands}) == count
    assert len(results(broker, count)) == count
    assert shop.calls == {"ship": count}


def all_worked_on(broker: Broker) -> bool:
    """Whether the orchestrator has worked on every command."""
    admin = broker.admin()
    lags = admin.lag(TOPICS.loop_group("orchestrator"))
    admin.close()
    behind = {lag.source: lag.committed or 0 for lag in lags}
    return all(m.offset < behind.get(m.source, 0) for m in all_of(broker, TOPICS.inbox))


def test_an_event_mended_wrongly_dies_again_and_replayed_twice_is_one_case() -> None:
    shop, broker = Shop(), MemoryBroker()
    dead = TOPICS.dlq(TOPICS.events)

    def newest() -> str:
        found = all_of(broker, dead)[-1]
        return f"{dead}:{found.partition}:{found.offset}"

    def replay(where: str, item: str, *more: str) -> int:
        patch = ("--patch", f'{{"item": {item}}}')
        return typed(broker, "dlq", "replay", where, *patch, *more, now=time.time())

    with running(shop.app(), broker) as settings:
        publish(broker, settings, [new_event("order.placed", {"item": 3}, id="e1")])
        until(lambda: len(all_of(broker, dead)) == 1)
        assert replay(newest(), "4") == 0
        until(lambda: len(all_of(broker, dead)) == 2)
        assert all_of(broker, dead)[-1].header("cw_dlq_replays") == "1"
        again = newest()
        assert replay(again, '"good"') == 0
        assert replay(again, '"good"') == 1, "it was handled"
        assert replay(again, '"good"', "--force") == 0
        until(
            lambda: [m.header("ce_type") for m in all_of(broker, TOPICS.inbox)].count(OPENED) == 2
        )
        until(lambda: all_worked_on(broker))
        [result] = results(broker, 1)
    assert (result.status, result.amends) == ("completed", None)
    assert shop.calls == {"price": 1, "ship": 1}
