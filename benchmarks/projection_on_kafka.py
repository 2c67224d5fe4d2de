"""The projection on a genuine Kafka: does it keep up, and how long does it take to be made anew?

    python -m benchmarks.projection_on_kafka --rate 3000 --seconds 60 --cases 1000000

First so many cases a second are written, five records each, while `caseworks projection` runs, and
its lag is looked at once a second. Then the topics are filled up to so many cases, as compaction
leaves them (a mark and a result each), and the file is thrown away and read anew. One JSON line
each: wall time, and the CPU of the projection's process alone. Needs 1.5 KB of disk a record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import psutil

from benchmarks.noop import app
from benchmarks.projection import Cases
from caseworks.connection import connect
from caseworks.projection.connection import projection_path
from caseworks.projection.read import ReadModel
from caseworks.topics import ensure_topics
from events.broker import Broker, Message, Record
from events.errors import RetriableError
from events.local_kafka import LocalKafka
from events.partitioner import partition_of
from events.settings import Settings

PATIENCE_S = 600.0


class Run:
    """A broker with topics, and what is written to it."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.settings = Settings(data_dir=folder, bootstrap_servers=bootstrap)
        self.broker: Broker = connect(self.settings)
        ensure_topics(app, self.settings, self.broker)
        self.cases = Cases()
        self.path = projection_path(folder, self.settings.namespace)

    def projection(self, *args: str) -> subprocess.Popen[str]:
        """The role as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "caseworks", "projection", *args],
            env=os.environ
            | {
                "CASEWORKS_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
                "CASEWORKS_DATA_DIR": str(self.settings.data_dir),
                "CASEWORKS_PROJECTION_CASES_MAX": "100000000",
                "CASEWORKS_LOG_LEVEL": "warning",
            },
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, messages: Iterable[Message]) -> None:
        """Write records, each where its key belongs."""
        with closing(self.broker.producer()) as producer:
            for message in messages:
                record = self._record(message)
                while True:
                    try:
                        producer.produce(record)
                        break
                    except RetriableError:  # its queue is full
                        producer.poll()
                        time.sleep(0.01)
                producer.poll()
            producer.flush(PATIENCE_S)

    def _record(self, message: Message) -> Record:
        partition = None
        if message.topic == self.settings.topics.cases:
            partition = partition_of(message.key or b"", self.settings.inbox_partitions)
        return Record(message.topic, message.key, message.value, message.headers, partition)

    def live(self, rate: int, seconds: int) -> dict[str, object]:
        """Write at a rate while the projection runs."""
        running = self.projection()
        assert running.stdout is not None
        running.stdout.readline()
        lags: list[float] = []
        try:
            watched = psutil.Process(running.pid)
            model = ReadModel(self.path)
            cpu = _cpu(watched)
            began = time.monotonic()
            for second in range(seconds):
                first = second * rate
                self.write(m for n in range(first, first + rate) for m in self._whole(n))
                late = began + second + 1 - time.monotonic()
                time.sleep(max(0.0, late))
                lags.append(model.behind().seconds)
            wrote = time.monotonic() - began
            deadline = time.monotonic() + PATIENCE_S
            while model.behind().records and time.monotonic() < deadline:
                time.sleep(0.2)
            spent = _cpu(watched) - cpu
        finally:
            running.terminate()
            running.wait(30)
        return {
            "mode": "live",
            "cases_per_s_written": round(rate * seconds / wrote),
            "behind_s_max": max(lags),
            "behind_s_p50": sorted(lags)[len(lags) // 2],
            "caught_up_after_s": round(time.monotonic() - began - wrote, 1),
            "cpu_s_per_100k_cases": round(spent / (rate * seconds) * 100_000, 2),
        }

    def _whole(self, number: int) -> list[Message]:
        cases = self.cases
        states = (cases.state(number, index) for index in range(len(cases.states)))
        return [*states, cases.answer(number)]

    def rebuild(self, first: int, count: int) -> dict[str, object]:
        """Fill up, and read everything anew."""
        last = len(self.cases.states) - 1
        self.write(
            m
            for n in range(first, count)
            for m in (self.cases.state(n, last), self.cases.answer(n))
        )
        began = time.monotonic()
        running = self.projection("--rebuild", "--once")
        watched, spent = psutil.Process(running.pid), 0.0
        while running.poll() is None:
            spent = _cpu(watched) or spent
            time.sleep(0.05)
        took = time.monotonic() - began
        return {
            "mode": "rebuild",
            "cases": count,
            "seconds": round(took, 1),
            "cases_per_s": round(count / took),
            "cpu_s_per_100k_cases": round(spent / count * 100_000, 2),
            "file_mib": round(self.path.stat().st_size / 2**20),
        }


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="Where the data lie; default: a temporary one."
    )
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        with LocalKafka.start(folder) as kafka:
            run = Run(folder, kafka.bootstrap)
            if asked.seconds:
                print(json.dumps(run.live(asked.rate, asked.seconds)), flush=True)
            if asked.cases:
                found = run.rebuild(asked.rate * asked.seconds, asked.cases)
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
