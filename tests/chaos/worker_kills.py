"""Eight workers of an ordered agent, 100,000 tasks, sixteen kill -9: done, in order, hardly twice.

Tasks are written straight to the agent's topic and outcomes read from the inbox, as the wire
contract says: no coordinator is the bottleneck, or puts anything right.
"""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import confluent_kafka as ck

from tests.chaos.completions import Completions, Kill, Told
from tests.chaos.load import Pace
from tests.chaos.trial import Ask, Figure, Showing
from tests.chaos.workload import SOURCE, Workload
from tests.chaos.world import NAMESPACE, PARTITIONS, READY_TIMEOUT_S, Setup, World, world

TASKS = 100_000
KILLS = 16
WORKERS = 8
TASK_PARTITIONS = 32
RATE_PER_S = 1_000.0
KEYS = 2_000
IN_FLIGHT_MAX = 64
"""Of the agent."""
COMMIT_MS = 1_000
"""Commits come every 200 ms, and on a busy machine late."""
STABLE_S = 3.0
"""Nobody is killed sooner after its start, so that everybody is at work."""
DRAIN_S = 120.0
TURN_S = 0.01
TOPIC = f"{NAMESPACE}.tasks.keep"
INBOX = f"{NAMESPACE}.inbox"
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("ce_type", b"caseworks.task"),
    ("content-type", b"application/json"),
]


def task(index: int) -> tuple[str, int, dict[str, Any]]:
    """The key and number of a task, and its body."""
    key, number = f"key-{index % KEYS:05d}", index // KEYS
    case_id = f"{key}-{number:05d}"
    now = datetime.now(UTC)
    event = {
        "id": case_id,
        "source": SOURCE,
        "type": "keep.wanted",
        "subject": key,
        "time": now.isoformat(),
        "data": {"id": case_id},
    }
    return (
        key,
        number,
        {
            "task_id": f"{case_id}:keep",
            "case_id": case_id,
            "workflow": "keeping",
            "workflow_version": "1",
            "step": "keep",
            "agent": "keep",
            "attempt": 1,
            "event": event,
            "timeout_s": 30.0,
            "deadline": (now + timedelta(hours=1)).isoformat(),
            "reply_to": {"topic": INBOX, "partition": index % KEYS % PARTITIONS["INBOX"]},
        },
    )


@dataclass(slots=True)
class Client:
    """Writes tasks at a rate and reads outcomes, on a thread of its own; others read `told`."""

    bootstrap: str
    goal: int
    rate: float
    told: Completions = field(default_factory=Completions)
    sent: int = 0
    acknowledged: int = 0
    error: BaseException | None = None
    stop: Event = field(default_factory=Event)

    def run(self) -> None:
        """Until it is told to stop."""
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            self.error = error

    def _run(self) -> None:
        producer = ck.Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        )
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "group.id": "chaos-outcomes",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
        with closing(ck.Consumer(config)) as reader:
            reader.assign(
                [ck.TopicPartition(INBOX, each, 0) for each in range(PARTITIONS["INBOX"])]
            )
            begun = time.monotonic()
            while not self.stop.is_set():
                due = min(self.goal, int((time.monotonic() - begun) * self.rate))
                while self.sent < due:
                    self._send(producer)
                producer.poll(0)
                self._look(reader)
            producer.flush(10)

    def _send(self, producer: ck.Producer) -> None:
        key, _number, body = task(self.sent)
        named = [*HEADERS, ("ce_id", f"{body['task_id']}:1".encode())]
        named.append(("ce_time", body["event"]["time"].encode()))
        partition = self.sent % KEYS % TASK_PARTITIONS
        value = json.dumps(body)
        producer.produce(
            TOPIC, value, key, partition=partition, headers=named, on_delivery=self._reported
        )
        self.sent += 1

    def _reported(self, error: Any, _message: Any) -> None:
        if error is not None:
            raise ck.KafkaException(error)
        self.acknowledged += 1

    def _look(self, reader: ck.Consumer) -> None:
        first = reader.poll(TURN_S)
        for message in [] if first is None else [first, *reader.consume(1000, 0)]:
            if message.error() is None:
                self.told.tell(_told(message))


def _told(message: ck.Message) -> Told:
    body = json.loads(message.value() or b"")
    key, number = body["case_id"].rsplit("-", 1)
    done = body["status"] == "done" and body["output"] == body["case_id"]
    return Told(key, int(number), body["worker"], message.timestamp()[1], done)


def worker_kills(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`."""
    goal, times, rate = ask.cases or TASKS, ask.times or KILLS, ask.rate or RATE_PER_S
    workload = Workload("tests.chaos.ordered_app:app", ("keeping",), ("keep",), _no_event)
    env = {"CASEWORKS_TASKS_PARTITIONS": str(TASK_PARTITIONS)}
    setup = Setup(coordinators=0, workers=1, copies=WORKERS, env=env)
    with world(setup, workload, Pace(1.0), ask.seed, ask.keep) as running:
        running.deadline = time.monotonic() + goal / rate + times * 10.0 + DRAIN_S
        client = Client(running.cluster.bootstrap, goal, rate)
        thread = Thread(target=client.run, name="client", daemon=True)
        begun = time.monotonic()
        thread.start()
        try:
            kills = _kill(running, client, times, ask)
            _wait(running, client, goal)
            took_s = time.monotonic() - begun
            running.wait(3.0)  # what is doubled may come late
        finally:
            running.crew.close()
            client.stop.set()
            thread.join(30)
        showing.complaints += running.crew.deaths.crashes
    showing.figures += _figures(client.told, goal, kills, took_s)
    showing.complaints += client.told.disordered[:5]


def _no_event(_number: int, _event_id: str) -> tuple[str, bytes]:
    raise AssertionError("no events here: tasks are written straight to the topic")


def _kill(running: World, client: Client, times: int, ask: Ask) -> list[Kill]:
    chance, kills = random.Random(ask.seed), list[Kill]()
    crew = running.crew
    for number in range(times):
        due = client.goal * (number + 1) // (times + 1)
        _wait(running, client, due)
        crew.until(lambda: bool(crew.names("worker", older_s=STABLE_S)), READY_TIMEOUT_S, "nobody")
        name = chance.choice(crew.names("worker", older_s=STABLE_S))
        crew.signal(name, signal.SIGKILL)
        instance = name.rpartition("-")[2]
        kills.append(Kill(f"{NAMESPACE}-worker-{instance}", int(time.time() * 1000)))
        ask.told(f"{number + 1}/{times}: kill {name}, {len(client.told.firsts)} tasks done")
    return kills


def _wait(running: World, client: Client, done: int) -> None:
    """Until so many tasks are done. Raises `LateError`, and what the client died of."""

    def reached() -> bool:
        if client.error is not None:
            raise client.error
        return len(client.told.firsts) >= done

    running.wait_until(reached, DRAIN_S + done / client.rate)


def _figures(told: Completions, goal: int, kills: list[Kill], took_s: float) -> list[Figure]:
    doubled, strange = told.doubled_by(kills, COMMIT_MS)
    beyond = [
        n - told.in_flight_most(kill, IN_FLIGHT_MAX, COMMIT_MS) for kill, n in doubled.items()
    ]
    bound = sum(told.in_flight_most(kill, IN_FLIGHT_MAX, COMMIT_MS) for kill in kills)
    return [
        Figure("tasks done", len(told.firsts), "", goal, goal),
        Figure("outcomes that are no success", told.failed, "", None, 0),
        Figure("first completions out of order", len(told.disordered), "", None, 0),
        Figure("kill -9", len(kills)),
        Figure("done twice", len(told.again), "", None, bound),
        Figure("the most of one kill", max(doubled.values(), default=0)),
        Figure(
            "kills that doubled more than was in flight", sum(n > 0 for n in beyond), "", None, 0
        ),
        Figure("done twice without a kill", strange, "", None, 0),
        Figure("throughput, kills included", goal / took_s, "tasks/s"),
    ]
