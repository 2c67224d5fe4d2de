"""A flood at one agent, and work that others send it meanwhile: a worker process on real Kafka.

Times are those of the records: from a task's own to that of its outcome.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from math import ceil
from statistics import median
from uuid import uuid4

import pytest

from caseworks.compose import System, build
from caseworks.supervisor import Program, Supervisor
from events.broker import Message, Producer, Record, TopicPartition
from events.envelope import record_of, travelling_of
from events.kafka import KafkaBroker
from events.logs import get_logger
from events.settings import Settings
from schemas.base import instant
from schemas.event import Event, Priority
from schemas.outcome import Outcome
from schemas.task import ReplyTo, Task
from tests.kafka.flood_app import app

RATE_PER_S = 20.0
QUIET_S = 6.0
FLOOD_S = 15.0
NOISE_S = 2.0
"""What a busy machine may add. Served in order of arrival, the others wait for 15 to 30 s."""
LIMIT_S = 40.0

log = get_logger("tests.floods")


class Desk:
    """Writes tasks as a coordinator does, and reads what became of them."""

    def __init__(self, system: System, producers: tuple[Producer, Producer]) -> None:
        """Of the two producers one is for floods: others do not wait in its queue."""
        self._topics = system.settings.topics
        self._producer, self._flooding = producers
        self._reader = system.broker.reader()
        self._inbox = TopicPartition(self._topics.inbox, 0)
        self._next = 0
        self._number = 0
        self.sent: dict[str, str] = {}
        """Who sent it, by task id."""
        self.latencies_s: dict[str, list[float]] = {}
        """By who sent it."""

    def task(self, who: str, priority: Priority = "normal") -> Record:
        self._number += 1
        now = time.time()
        event = Event(
            id=str(self._number),
            source="/flood",
            type="note.taken",
            time=instant(now),
            data={"n": self._number, "text": "x" * 300},
            tenant=who,
            priority=priority,
        )
        task = Task(
            task_id=f"{event.case_id}:look",
            case_id=event.case_id,
            workflow="looking",
            workflow_version="1",
            step="look",
            agent="look",
            attempt=1,
            event=event,
            timeout_s=10.0,
            deadline=instant(now + 3600),
            reply_to=ReplyTo(topic=self._inbox.topic, partition=0),
        )
        self.sent[task.task_id] = who
        return record_of(
            task,
            Task.ce_type,
            topic=self._topics.tasks("look", "urgent" if priority == "urgent" else "normal"),
            key=event.case_id,
            ce_id=f"{task.task_id}:1",
            source="caseworks/test",
            now=now,
            travelling=travelling_of(event),
        )

    def flood(self, records: Sequence[Record]) -> None:
        for record in records:
            self._flooding.produce(record)

    def hear(self) -> None:
        read = self._reader.read(self._inbox, self._next, 2000)
        self._next = read.next_offset
        for message in read.messages:
            self._heard(message)

    def _heard(self, message: Message) -> None:
        outcome = Outcome.from_json(message.value or b"")
        assert outcome.status == "done"
        assert outcome.delivery is not None
        if (who := self.sent.pop(outcome.task_id, None)) is not None:
            asked_ms = outcome.delivery.timestamp.timestamp() * 1000
            self.latencies_s.setdefault(who, []).append((message.timestamp_ms - asked_ms) / 1000)

    def trickle(self, make: Callable[[], Record], until: Callable[[float], bool]) -> None:
        """One task every so often, until it is enough."""
        began, sent = time.monotonic(), 0
        while not until(time.monotonic() - began):
            if time.monotonic() >= began + sent / RATE_PER_S:
                self._producer.produce(make())
                self._producer.poll()
                sent += 1
            self.hear()

    def answered(self, who: str) -> None:
        """Every task of this sender has an outcome."""
        deadline = time.monotonic() + LIMIT_S
        while left := sum(each == who for each in self.sent.values()):
            assert time.monotonic() < deadline, f"{left} tasks of {who} without an outcome"
            self.hear()


@contextmanager
def working(bootstrap: str) -> Iterator[Desk]:
    settings = Settings(
        namespace=f"flood-{uuid4().hex[:8]}",
        inbox_partitions=1,
        events_partitions=1,
        tasks_partitions=4,
        results_partitions=1,
    )
    system = build(app, settings, broker=KafkaBroker(bootstrap))
    system.ensure_topics()
    argv = (sys.executable, "-m", "caseworks", "worker", "--app", "tests.kafka.flood_app:app")
    env = {"CASEWORKS_NAMESPACE": settings.namespace, "CASEWORKS_BOOTSTRAP_SERVERS": bootstrap}
    supervisor = Supervisor([Program("worker", "worker", argv, env)])
    made = [system.broker.producer(ordered=False) for _ in range(2)]
    with closing(made[0]) as producer, closing(made[1]) as flooding:
        supervisor.start()
        try:
            supervisor.wait_ready(LIMIT_S)
            yield Desk(system, (producer, flooding))
        finally:
            supervisor.stop()


def p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[ceil(0.99 * len(seconds)) - 1]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "priority"), [(10_000, "normal"), (20_000, "urgent")])
def test_a_flood_of_one_tenant_or_of_normal_tasks_leaves_others_alone(
    n: int, priority: Priority, kafka_bootstrap: str
) -> None:
    with working(kafka_bootstrap) as desk:
        desk.trickle(lambda: desk.task("warm"), lambda s: s >= 2.0)
        desk.answered("warm")
        desk.trickle(lambda: desk.task("quiet", priority), lambda s: s >= QUIET_S)
        desk.answered("quiet")
        flood = [desk.task("flood") for _ in range(n)]
        desk.flood(flood)

        def over(s: float) -> bool:
            return s >= FLOOD_S or len(desk.latencies_s.get("flood", ())) >= 0.95 * n

        desk.trickle(lambda: desk.task("other", priority), over)
        desk.answered("other")

    found = {who: (len(s), median(s), p99(s)) for who, s in desk.latencies_s.items()}
    quiet, other, flooded = (desk.latencies_s[who] for who in ("quiet", "other", "flood"))
    log.info("flood", n=n, count_median_p99_s=found)
    assert len(other) >= 2 * RATE_PER_S, "the flood was over before it was one"
    assert p99(other) <= max(2 * p99(quiet), NOISE_S), found
    assert median(flooded) > 5 * median(other), "nothing waited: that was no flood"
