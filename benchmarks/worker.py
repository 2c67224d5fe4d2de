"""One worker process with an agent that does nothing: tasks per second, beside a bare loop.

In memory: a child process takes its tasks from the broker in memory; what is counted ends with the
acknowledgement of every outcome. On Kafka: a worker process and the barest loop one could write
(consume, parse, produce an outcome of the same size, commit), one after the other in each round.
A process stands still while its tasks are written, so that only its own work is timed.
usage: python -m benchmarks.compare --only worker
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import confluent_kafka as ck
import psutil

from benchmarks import bare
from benchmarks.noop import app
from benchmarks.workload import event, said
from caseworks.compose import build
from caseworks.topics import specs_of
from events import metrics
from events.broker import Record, TopicPartition
from events.envelope import record_of
from events.memory import MemoryBroker
from events.settings import Settings
from schemas.base import instant
from schemas.event import Event as BusinessEvent
from schemas.task import ReplyTo, Task

AGENT = "billing"
PARTITIONS = 4
IN_MEMORY_WANTED, RATIO_WANTED = 20_000, 0.6
WAIT_S = 120.0
LOOK_S = 0.01
QUEUE_MAX = 50_000


@dataclass(slots=True)
class Speed:
    """A value per round."""

    tasks_per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """CPU of the process per task."""

    def add(self, tasks: int, wall_s: float, cpu_s: float) -> None:
        """A round."""
        self.tasks_per_s.append(tasks / wall_s)
        self.cpu_us.append(1e6 * cpu_s / tasks)

    def __str__(self) -> str:
        rate, cpu = self.tasks_per_s, self.cpu_us
        return (
            f"{median(rate):.0f} ({min(rate):.0f}-{max(rate):.0f}) tasks/s, "
            f"CPU {median(cpu):.1f} ({min(cpu):.1f}-{max(cpu):.1f}) us per task"
        )


def tasks_of(count: int, namespace: str) -> list[Record]:
    """Tasks as a coordinator writes them, 1.2 KB each."""
    now = time.time()
    made = []
    for number in range(count):
        data = event(number)
        business = BusinessEvent(
            id=data["id"], source="/bench", type="ticket.created", time=instant(now), data=data
        )
        task = Task(
            task_id=f"{business.case_id}:{AGENT}",
            case_id=business.case_id,
            workflow="noop",
            workflow_version="1",
            step=AGENT,
            agent=AGENT,
            attempt=1,
            event=business,
            results={"triage": said("triage", business.id)},
            timeout_s=60,
            deadline=instant(now + 86_400),
            reply_to=ReplyTo(topic=f"{namespace}.inbox", partition=number % PARTITIONS),
        )
        record = record_of(
            task,
            Task.ce_type,
            topic=f"{namespace}.tasks.{AGENT}",
            key=task.case_id,
            ce_id=f"{task.task_id}:1",
            source=f"caseworks/{namespace}",
            now=now,
            partition=number % PARTITIONS,
        )
        made.append(record)
    return made


# --- in memory


def in_memory(tasks: int) -> tuple[float, float]:
    """Wall and CPU seconds of this process for so many tasks."""
    settings = Settings(
        in_flight_max=4000, inbox_partitions=PARTITIONS, tasks_partitions=PARTITIONS
    )
    broker, stop = MemoryBroker(), Event()
    broker.admin().create(specs_of(app, settings))
    producer = broker.producer()
    for record in tasks_of(tasks, settings.namespace):
        producer.produce(record)
    producer.flush(1)
    system = build(app, settings, broker=broker, telemetry=metrics.Prometheus())
    worker = Thread(target=system.run_worker, args=((AGENT,), stop))
    inbox = [TopicPartition(settings.topics.inbox, number) for number in range(PARTITIONS)]
    cpu_s, began = time.process_time(), time.perf_counter()
    worker.start()
    while sum(broker.log(each).end for each in inbox) < tasks:
        if time.perf_counter() - began > WAIT_S:
            raise TimeoutError("the worker in memory never ended")
        time.sleep(LOOK_S)
    spent = time.perf_counter() - began, time.process_time() - cpu_s
    stop.set()
    worker.join()
    return spent


# --- on Kafka


def bare_loop(bootstrap: str, tag: str, outcome_bytes: int) -> None:
    """The yardstick: tasks in, outcomes of so many bytes out, committed batch by batch."""
    source = bare.consumer("worker", bootstrap, tag, f"tasks{tag}")
    sink = ck.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    filler = ""
    while True:
        batch = bare.take(source)
        for message in batch:
            task = json.loads(message.value() or b"")
            out = said(task["step"], task["case_id"])
            body = {"case": task["case_id"], "step": task["step"], "out": out, "filler": filler}
            value = json.dumps(body)
            if not filler:
                filler = "x" * (outcome_bytes - len(value))
            at = task["reply_to"]["partition"]
            sink.produce(f"inbox{tag}", value, task["case_id"], at)
        if batch:
            sink.flush(WAIT_S)
            source.commit(asynchronous=False)


class Watcher:
    """Writes tasks for a process that stands still, lets it go on, and sees it finish."""

    def __init__(self, bootstrap: str, tasks: str, inbox: str) -> None:
        self._tasks, self._inbox = tasks, inbox
        self._sink = ck.Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
        self._reader = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": f"watch-{inbox}"})

    def outcomes(self) -> int:
        """How many the inbox holds."""
        return sum(self._ends(number)[1] for number in range(PARTITIONS))

    def _ends(self, partition: int) -> tuple[int, int]:
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return self._reader.get_watermark_offsets(ck.TopicPartition(self._inbox, partition))
            except ck.KafkaException:  # a topic that was made just now
                if time.monotonic() > until:
                    raise
                time.sleep(LOOK_S)

    def outcome_bytes(self) -> int:
        """Size of the last one: value and headers."""
        low, high = self._ends(0)
        self._reader.assign([ck.TopicPartition(self._inbox, 0, max(low, high - 1))])
        message: Any = self._reader.poll(WAIT_S)
        self._reader.unassign()
        headers = sum(len(name) + len(value) for name, value in message.headers() or ())
        return len(message.value()) + headers

    def time(self, pid: int, records: Sequence[Record], into: Speed) -> None:
        """One round."""
        process = psutil.Process(pid)
        wanted = self.outcomes() + len(records)
        os.kill(pid, signal.SIGSTOP)
        for _, key, value, headers, partition in records:
            while len(self._sink) > QUEUE_MAX:
                self._sink.poll(LOOK_S)
            self._sink.produce(self._tasks, value, key, partition or 0, headers=list(headers))
        self._sink.flush(WAIT_S)
        before, began = sum(process.cpu_times()[:2]), time.perf_counter()
        os.kill(pid, signal.SIGCONT)
        while self.outcomes() < wanted:
            if time.perf_counter() - began > WAIT_S:
                raise TimeoutError(f"{self._inbox}: not all tasks were answered")
            time.sleep(LOOK_S)
        wall_s = time.perf_counter() - began
        into.add(len(records), wall_s, sum(process.cpu_times()[:2]) - before)


def report(memory: Speed, worker: Speed, loop: Speed) -> dict[str, float]:
    """Print the figures; the two that are wanted."""
    pairs = zip(worker.tasks_per_s, loop.tasks_per_s, strict=True)
    ratios = sorted(ours / bare_ for ours, bare_ in pairs)
    print(
        f"\none worker in memory: {memory} (wanted: {IN_MEMORY_WANTED} tasks/s)\n"
        f"one worker on Kafka: {worker}\n"
        f"the bare loop of it: {loop}\n"
        f"ratio of the worker: {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) "
        f"(wanted: {RATIO_WANTED})"
    )
    return {"in_memory_per_s": median(memory.tasks_per_s), "worker_ratio": median(ratios)}


def in_memory_apart(tasks: int, into: Speed, folder: Path) -> None:
    """One round in a process of its own."""
    told = folder / "in_memory.json"
    argv = [sys.executable, "-m", "benchmarks.worker", "memory", str(tasks), str(told)]
    subprocess.run(argv, cwd=Path(__file__).parents[1], check=True, timeout=2 * WAIT_S)
    into.add(tasks, *json.loads(told.read_text("utf-8")))


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        Path(sys.argv[3]).write_text(json.dumps(in_memory(int(sys.argv[2]))), encoding="utf-8")
    else:
        bare_loop(sys.argv[2], sys.argv[3], int(sys.argv[4]))
