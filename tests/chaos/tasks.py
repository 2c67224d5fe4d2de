"""A client of workers alone: writes tasks to an agent's topic, and reads outcomes from the inbox.

As the wire contract says: no coordinator is the bottleneck, or puts anything right.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import confluent_kafka as ck

from tests.chaos.completions import Completions, Told
from tests.chaos.workload import SOURCE
from tests.chaos.world import NAMESPACE, PARTITIONS, World

KEYS = 2_000
TASK_PARTITIONS = 32
SETTINGS = {"CASEWORKS_TASKS_PARTITIONS": str(TASK_PARTITIONS)}
TURN_S = 0.01
DRAIN_S = 120.0
JOIN_S = 30.0
INBOX = f"{NAMESPACE}.inbox"
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("ce_type", b"caseworks.task"),
    ("content-type", b"application/json"),
]


def task(agent: str, index: int) -> tuple[str, int, dict[str, Any]]:
    """The key and number of a task, and its body."""
    key, number = f"key-{index % KEYS:05d}", index // KEYS
    case_id = f"{key}-{number:05d}"
    now = datetime.now(UTC)
    event = {
        "id": case_id,
        "source": SOURCE,
        "type": f"{agent}.wanted",
        "subject": key,
        "time": now.isoformat(),
        "data": {"id": case_id},
    }
    return (
        key,
        number,
        {
            "task_id": f"{case_id}:{agent}",
            "case_id": case_id,
            "workflow": agent,
            "workflow_version": "1",
            "step": agent,
            "agent": agent,
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
    agent: str
    goal: int
    rate: float
    told: Completions = field(default_factory=Completions)
    sent: int = 0
    acknowledged: int = 0
    error: BaseException | None = None
    _stop: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = Thread(target=self._live, name="client", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is known stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def wait(self, running: World, done: int) -> None:
        """Until so many tasks are done. Raises `LateError`, and what the client died of."""

        def reached() -> bool:
            if self.error is not None:
                raise self.error
            return len(self.told.firsts) >= done

        running.wait_until(reached, DRAIN_S + done / self.rate)

    def _live(self) -> None:
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
            while not self._stop.is_set():
                due = min(self.goal, int((time.monotonic() - begun) * self.rate))
                while self.sent < due:
                    self._send(producer)
                producer.poll(0)
                self._look(reader)
            producer.flush(10)

    def _send(self, producer: ck.Producer) -> None:
        key, _number, body = task(self.agent, self.sent)
        named = [*HEADERS, ("ce_id", f"{body['task_id']}:1".encode())]
        named.append(("ce_time", body["event"]["time"].encode()))
        partition = self.sent % KEYS % TASK_PARTITIONS
        value = json.dumps(body)
        producer.produce(
            f"{NAMESPACE}.tasks.{self.agent}",
            value,
            key,
            partition=partition,
            headers=named,
            on_delivery=self._reported,
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


def no_event(_number: int, _event_id: str) -> tuple[str, bytes]:
    """Of a workload without events."""
    raise AssertionError("no events here: tasks are written straight to the topic")
