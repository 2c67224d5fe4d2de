"""What the projection costs: CPU seconds for each 100,000 cases, live and rebuilt, without Kafka.

    python -m benchmarks.projection --cases 100000

One case of `noop` is played on the broker in memory; its records of the changelog and its result
are the template of all others. `live`: 3,000 cases a second, read four times a second, so that a
case lies in two reads. `rebuild`: everything there ever was, 5,000 records a read. `compacted`:
what is left of it after compaction, a mark and a result for each case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import UUID

from benchmarks import workload
from benchmarks.noop import app
from caseworks.client import Publisher, new_event
from caseworks.compose import build
from caseworks.projection.fold import Batch
from caseworks.projection.retention import Retention
from caseworks.projection.writer import ProjectionWriter
from caseworks.scan import partition_counts, partitions_of, records, results_topics
from events.broker import Message, TopicPartition
from events.memory import MemoryBroker
from events.settings import Settings

PARTITIONS = 32
LIVE_BATCH = 750
"""Cases of a quarter of a second."""
RECORDS = 5_000
PATIENCE_S = 20.0
WEEK_S = 7 * 86_400.0


def template() -> tuple[list[Message], Message, str, str]:
    """The changelog of one case, its result, its case id and the id of its event."""
    settings, broker, stop = Settings(inbox_partitions=1), MemoryBroker(), Flag()
    system = build(app, settings, broker=broker)
    system.ensure_topics()
    threads = [
        Thread(target=system.run_coordinator, args=(stop,)),
        Thread(
            target=build(app, settings, broker=broker).run_worker, args=(sorted(app.agents), stop)
        ),
    ]
    for thread in threads:
        thread.start()
    number = 123_456_789
    body = workload.event(number)
    event = new_event("ticket.created", body["ticket"]).evolve(id=body["id"], tenant=body["tenant"])
    try:
        with closing(Publisher(broker, settings)) as publisher:
            publisher.send(event)
            publisher.flush()
        found = _wait(broker, settings, event.case_id)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    states = [m for m in found if m.topic == settings.topics.cases]
    return states, found[-1], event.case_id, event.id


def _wait(broker: MemoryBroker, settings: Settings, case_id: str) -> list[Message]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        counts = partition_counts(broker)
        topics = [settings.topics.cases, *results_topics(counts, settings.topics)]
        with closing(broker.reader()) as reader:
            found = [m for s in partitions_of(counts, topics) for m in records(reader, s)]
        ours = [m for m in found if case_id.encode() in (m.key or b"") + (m.value or b"")]
        if any(m.topic != settings.topics.cases for m in ours):
            return ours
        time.sleep(0.05)
    raise SystemExit("the case did not end")


class Cases:
    """Any number of cases like the first."""

    def __init__(self) -> None:
        self.states, self.result, self.case_id, self.event_id = template()
        self.began = time.time()

    def state(self, number: int, index: int) -> Message:
        """One record of the changelog of a case."""
        return self._like(self.states[index], number)

    def answer(self, number: int) -> Message:
        """Its result."""
        return self._like(self.result, number)

    def _like(self, message: Message, number: int) -> Message:
        name = str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)).encode()
        value = (message.value or b"").replace(self.case_id.encode(), name)
        value = value.replace(self.event_id.encode(), b"evt-%09d" % number)
        key = name if message.topic == self.states[0].topic else message.key
        return message._replace(
            key=key, value=value, partition=number % PARTITIONS, offset=number * 10
        )

    def live(self, count: int) -> Iterator[list[Message]]:
        """Reads of a busy system: each holds the end of the cases before and half of new ones."""
        half = len(self.states) // 2
        for first in range(0, count + LIVE_BATCH, LIVE_BATCH):
            before = range(max(0, first - LIVE_BATCH), min(first, count)) if first else range(0)
            new = range(first, min(first + LIVE_BATCH, count))
            yield [
                *(self.state(n, i) for i in range(half, len(self.states)) for n in before),
                *(self.state(n, i) for i in range(half) for n in new),
                *(self.answer(n) for n in before),
            ]

    def whole(self, count: int) -> Iterator[list[Message]]:
        """Everything there ever was, the topics side by side."""
        return _chunks(
            m
            for n in range(count)
            for m in (*(self.state(n, i) for i in range(len(self.states))), self.answer(n))
        )

    def compacted(self, count: int) -> Iterator[list[Message]]:
        """What compaction leaves."""
        last = len(self.states) - 1
        return _chunks(m for n in range(count) for m in (self.state(n, last), self.answer(n)))


def _chunks(messages: Iterable[Message]) -> Iterator[list[Message]]:
    left = iter(messages)
    while chunk := list(islice(left, RECORDS)):
        yield chunk


def measure(cases: Cases, mode: str, count: int, folder: Path) -> dict[str, float]:
    """Write so many cases; CPU seconds without what makes the records."""
    reads = {"live": cases.live, "rebuild": cases.whole, "compacted": cases.compacted}[mode]
    path = folder / f"{mode}.sqlite"
    writer = ProjectionWriter(path, Retention(WEEK_S, 10**9))
    topics, spent, taken, told = Settings().topics, 0.0, 0, 0
    for position, messages in enumerate(reads(count), 1):
        began = time.process_time()
        batch = Batch(topics)
        for message in messages:
            batch.add(message)
        batch.finish()
        positions = {TopicPartition(topics.cases, n): position for n in range(PARTITIONS)}
        writer.write(batch, positions, time.time())
        spent += time.process_time() - began
        taken += len(messages)
        told += sum(batch.skipped.values())
    writer.close()
    return {
        "cases": count,
        "records": taken,
        "skipped": told,
        "cpu_s_per_100k_cases": round(spent / count * 100_000, 2),
        "cases_per_cpu_s": round(count / spent),
        "bytes_per_case": round(path.stat().st_size / count),
    }


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--modes", nargs="+", default=["live", "rebuild", "compacted"])
    asked = parser.parse_args(arguments)
    cases = Cases()
    for mode in asked.modes:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(cases, mode, asked.cases, Path(folder))
        print(json.dumps({"mode": mode, **found}))


if __name__ == "__main__":
    main(sys.argv[1:])
