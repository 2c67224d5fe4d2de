"""Too many open cases: owners tell, intake waits, and nothing is lost."""

from __future__ import annotations

from typing import Any

from coordinator.admission import Admission, Telling
from coordinator.intake import Intake
from coordinator.transactional import LoopLimits, TransactionalLoop
from events.broker import ConsumerSpec, Message, Record, TopicPartition
from events.dispatch import Handles, advance
from events.loop import Operation, Take
from events.memory import MemoryBroker
from events.topics import Partitions, Topics, catalogue
from schemas.commands import Cancel
from schemas.control import OpenCases
from tests.unit.machine import START, diamond, event, opened
from tests.unit.test_orchestrator import PARTITIONS, Desk

TOPICS = Topics("cw")
CONTROL = TopicPartition("cw.control", 0)
TELLING = Telling(TOPICS, partitions=2, cases_open_max=1000)


def told(partition: int, count: int) -> Message:
    record = TELLING.record(partition, count, START)
    return Message(record.topic, 0, 0, 0, record.key, record.value, record.headers)


def test_a_count_is_told_when_it_has_changed_by_a_hundredth_of_the_share() -> None:
    assert not TELLING.due(4, None)
    assert TELLING.due(5, None)
    assert not TELLING.due(96, b"100")
    assert TELLING.due(95, b"100")


def test_intake_waits_at_the_limit_and_goes_on_below_95_percent_of_it() -> None:
    admission = Admission(CONTROL, 100)

    assert not admission.learn([told(0, 60), told(1, 39)])
    assert admission.learn([told(1, 40)])
    assert admission.learn([told(1, 35)])
    assert not admission.learn([told(0, 59)])
    assert admission.open_count == 94


def test_what_is_no_count_changes_nothing() -> None:
    admission = Admission(CONTROL, 100)
    broken = told(0, 500)._replace(value=b"{")
    alien = told(0, 500)._replace(headers=(("ce_type", b"caseworks.control.breaker"),))

    assert not admission.learn([broken, alien, told(0, 500)._replace(value=None)])


def test_an_owner_tells_its_count_with_its_positions_once_a_second() -> None:
    desk = Desk(cases_open_max=PARTITIONS)
    first = desk.message(opened(desk.plan, event("e1")))
    desk.turn(first)
    turn = desk.turn()

    assert turn is not None
    home = TopicPartition("cw.inbox", first.partition)
    assert turn.positions == {home: 1}
    (record,) = desk.to("cw.control")
    assert OpenCases.from_json(record.value or b"").open == 1
    assert (record.key, record.partition) == (f"open:{home.partition}".encode(), 0)
    desk.tell(Cancel(case_id=opened(desk.plan, event("e1")).case_id))
    assert desk.turn() is None
    desk.now += 1
    assert desk.turn() is not None
    assert desk.turn() is None
    assert OpenCases.from_json(desk.to("cw.control")[-1].value or b"").open == 0


def test_the_next_owner_knows_what_was_told() -> None:
    desk = Desk(cases_open_max=PARTITIONS)
    desk.tell(opened(desk.plan))
    desk.turn()
    desk.it = desk.restarted()

    assert desk.turn() is None


class Door:
    """Intake's loop on a broker of its own."""

    def __init__(self, limit: int) -> None:
        self.now = START
        self.broker = MemoryBroker(lambda: self.now)
        ones = Partitions(inbox=1, events=1, tasks=1, results=1)
        self.broker.admin().create(catalogue(TOPICS, ["triage"], ["ticket"], ones))
        self.noted: list[tuple[str, Any]] = []
        spec = ConsumerSpec("cw.intake", ("cw.events",), "w", paused_on_assign=True)
        self.handles = Handles(
            self.broker,
            lambda: self.now,
            self.broker.consumer(spec),
            transactional_id="w",
            reader=self.broker.reader(),
            note=lambda name, fields: self.noted.append((name, fields)),
        )
        intake = Intake(TOPICS, [diamond()], {}, 1_000_000)
        admission = Admission(CONTROL, limit)
        self.run = TransactionalLoop(intake, "w", LoopLimits(), admission).run()
        self.operation: Operation = next(self.run)
        self.producer = self.broker.producer()

    def tell(self, count: int) -> None:
        self.producer.produce(TELLING.record(0, count, self.now))

    def knock(self) -> None:
        self.producer.produce(Record("cw.events", b"k", b"no event"))

    def goes(self, seconds: float = 1.0, takes: int = 4) -> int:
        """Time passes; how many events were answered by then."""
        self.now += seconds
        while takes:
            takes -= isinstance(self.operation, Take)
            self.operation = advance(self.run, self.operation, self.handles)
        return len(self.broker.log(TopicPartition("cw.events.dlq", 0)).read(0, 100).messages)


def test_intake_takes_nothing_while_too_many_are_open_and_everything_afterwards() -> None:
    door = Door(limit=100)
    door.knock()
    assert door.goes() == 1
    door.tell(100)
    assert door.goes() == 1
    for _ in range(5):
        door.knock()
    assert door.goes() == 1
    door.tell(95)
    assert door.goes() == 1
    door.tell(94)
    assert door.goes() == 6
    assert [name for name, _ in door.noted if name in ("full", "room")] == ["full", "room"]
    assert ("full", {"loop": "intake", "open": 100, "limit": 100}) in door.noted


def test_a_rebalance_while_too_many_are_open_does_not_open_the_door() -> None:
    door = Door(limit=100)
    door.goes()
    door.tell(200)
    door.goes()
    door.knock()
    door.broker.rebalance("cw.intake")

    assert door.goes() == 0
    door.tell(0)
    assert door.goes() == 1
