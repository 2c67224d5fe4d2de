"""Replays that are killed, resumed and taken over; and a whole app whose agent is put right."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

import pytest
from pydantic import BaseModel

from caseworks import App, Wait, new_event
from caseworks.cli import run
from caseworks.cli.base import Deps
from caseworks.client import Publisher, delivered
from caseworks.compose import build
from caseworks.dead_mail.audit import Audit
from caseworks.dead_mail.runs import batches
from caseworks.dead_mail.transactions import Transactions
from caseworks.scan import partition_counts, partitions_of, records
from events.broker import Broker, Message, Record, TopicPartition, TransactionalProducer
from events.errors import AbortableError, PermanentError, RetriableError, SetupError
from events.memory import MemoryBroker
from events.memory.broker import MemoryConnection
from events.settings import Settings
from schemas.base import instant
from schemas.commands import Replay
from schemas.event import Event
from schemas.result import Result
from tests.unit.command_line import COUNTS, NOW, TOPICS, CommandLine, state_record
from tests.unit.dead_cases import bury, died, letter_of, prepared
from tests.unit.machine import Machine

SETTINGS = Settings()
FEW = Settings(
    inbox_partitions=COUNTS.inbox,
    events_partitions=COUNTS.events,
    tasks_partitions=COUNTS.tasks,
    results_partitions=COUNTS.results,
)
TIMEOUT_S = 60.0


@dataclass
class Mortal:
    """A broker's connection whose process is killed just before a call of its transactions."""

    inner: MemoryConnection
    calls_left: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def transactional(self, transactional_id: str) -> TransactionalProducer:
        made: TransactionalProducer = Doomed(self.inner.transactional(transactional_id), self)
        return made

    def spend(self) -> None:
        """One call more."""
        if self.calls_left == 0:
            self.inner.link.cut()
        self.calls_left -= 1


@dataclass
class Doomed:
    """Its transactional producer."""

    inner: TransactionalProducer
    life: Mortal

    def init(self) -> None:
        self.life.spend()
        self.inner.init()

    def begin(self) -> None:
        self.life.spend()
        self.inner.begin()

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        self.life.spend()
        self.inner.produce(records, marks)

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        self.life.spend()
        self.inner.send_offsets(positions, metadata)

    def commit(self) -> Mapping[TopicPartition, int]:
        self.life.spend()
        return self.inner.commit()

    def abort(self) -> None:
        self.life.spend()
        self.inner.abort()

    def close(self) -> None:
        self.inner.close()


def typed(broker: Any, *args: str, now: float = NOW) -> int:
    """A command on this broker, in a process of its own."""

    def connect(settings: Settings) -> Broker:
        found: Broker = broker
        return found

    return run(args, Deps(connect=connect, clock=lambda: now))


def all_of(broker: Broker, topic: str) -> list[Message]:
    reader = broker.reader()
    sources = partitions_of(partition_counts(broker), [topic])
    return [message for source in sources for message in records(reader, source)]


WHOLE = ("dlq", "replay", "--all", "--why", "fixed", "--yes", "--rate", "100000/s", "--name", "r")


@pytest.mark.parametrize("killed_before", range(10))
def test_a_run_that_is_killed_anywhere_goes_on_with_the_rest_only(killed_before: int) -> None:
    command = prepared()
    places = bury(command, *(died(f"e{number}") for number in range(150)))
    mortal = Mortal(command.broker.connect("killed"), killed_before)
    assert typed(mortal, *WHOLE) != 0  # 1 call of init, 4 to begin the run, 4 for each batch
    began = Audit(command.broker, SETTINGS).run("r") is not None
    assert began is (killed_before > 4)
    again = ("dlq", "replay", "--resume", "r", "--yes", "--rate", "100000/s") if began else WHOLE
    ran = command(*again)
    assert ran.code == 0, ran.err
    sent = [Replay.from_json(message.value).command_id for message in command.records(TOPICS.inbox)]
    assert Counter(sent) == Counter(places)
    assert ("150 replayed" in ran.out) is (killed_before < 9)
    written = [json.loads(m.value or b"")["place"] for m in _handled(command)]
    assert Counter(written) == Counter(places)


def _handled(command: CommandLine) -> list[Message]:
    found = command.records(TOPICS.letter_audit)
    return [message for message in found if b'"place"' in message.value]


def test_a_second_process_under_the_same_name_fences_the_first() -> None:
    command = prepared()
    bury(command, *(died(f"e{number}") for number in range(3)))
    assert command(*WHOLE, "--limit", "1").code == 0
    audit = Audit(command.broker, SETTINGS)
    run_ = audit.need_run("r")
    first = Transactions(command.broker, "cw-replay-r")
    second = Transactions(command.broker, "cw-replay-r")
    record = Record(TOPICS.letter_audit, b"x", b"{}")
    with pytest.raises(SetupError, match="another process took over cw-replay-r"):
        first.write([record])
    second.write([record])
    assert run_.name == "r"


def test_what_cannot_be_written_is_not_half_written() -> None:
    command = prepared()
    with pytest.raises(SetupError, match="not acknowledged"):
        Transactions(command.broker, "t").write(
            [Record(TOPICS.inbox, b"x", b"{}"), Record("nowhere", b"x", b"{}")]
        )
    assert command.records(TOPICS.inbox) == []


@dataclass
class Shaky:
    """A broker whose transactions are refused so often, and then accepted."""

    refusals: list[BaseException]
    calls: list[str] = field(default_factory=list)

    def transactional(self, transactional_id: str) -> Shaky:
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*args: object) -> None:
            self.calls.append(name)
            if name == "commit" and self.refusals:
                raise self.refusals.pop(0)

        return call


def test_an_aborted_transaction_is_written_anew() -> None:
    shaky: Any = Shaky([RetriableError("slow"), AbortableError("no")])
    Transactions(shaky, "t").write([])
    once = ["begin", "produce", "commit"]
    assert shaky.calls == ["init", *once, "commit", "abort", *once]


def test_an_interrupted_transaction_holds_up_nobody() -> None:
    shaky: Any = Shaky([KeyboardInterrupt()])
    transactions = Transactions(shaky, "t")
    with pytest.raises(KeyboardInterrupt):
        transactions.write([])
    transactions.close()
    assert shaky.calls[-2:] == ["abort", "close"]
    quiet: Any = Shaky([])
    Transactions(quiet, "t").close()
    assert quiet.calls == ["init", "close"]


def test_large_letters_make_small_batches() -> None:
    command, large = prepared(), b'"' + b"x" * 900_000 + b'"'
    dlq = TOPICS.dlq(TOPICS.events)
    command.produce(*[Record(dlq, b"k", large, partition=0)] * 25)
    at = TopicPartition(dlq, 0)
    made = list(batches(command.broker.reader(), {at: 0}, {at: 25}, bool, most=100))
    assert [len(batch.letters) for batch in made] == [10, 10, 5]
    assert [batch.positions[at] for batch in made] == [10, 20, 25]


@pytest.mark.parametrize("error", [RetriableError("slow"), AbortableError("no")])
def test_a_broker_that_never_accepts_is_given_up(error: Exception) -> None:
    shaky: Any = Shaky([error] * 100)
    with pytest.raises(SetupError, match="not acknowledged"):
        Transactions(shaky, "t").write([])
    assert len(shaky.refusals) > 50


def test_replay_and_audit_are_one_transaction_for_named_letters_too() -> None:
    command = prepared()
    [place] = bury(command, died())
    mortal = Mortal(command.broker.connect("killed"), 3)  # init, begin, produce: dies at commit
    assert typed(mortal, "dlq", "replay", place) != 0
    mortal.inner.link.expire()
    assert command.records(TOPICS.inbox) == command.records(TOPICS.letter_audit) == []
    assert command("dlq", "replay", place).code == 0
    assert len(command.records(TOPICS.inbox)) == 1


# --- a whole app


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
