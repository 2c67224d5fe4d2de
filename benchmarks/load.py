"""The client of the benchmarks: keeps a number of cases in flight, or sends one at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import confluent_kafka as ck

from benchmarks.workload import event

Headers = list[tuple[str, str | bytes | None]]
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """A system under load: where its events go and its results, keyed by event id, come."""

    name: str
    events: str
    results: str
    headers: Callable[[str], Headers]


class Client:
    """One producer and one reader of committed results."""

    def __init__(self, bootstrap: str, target: Target, first: int) -> None:
        """Waits until it reads from every partition. *first* is the first event's number."""
        self.target = target
        self.number = first
        self._sink = ck.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
        self._source = ck.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"bench-{uuid4()}",
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
            }
        )
        self._source.subscribe([target.results])
        deadline = time.monotonic() + WAIT_S
        while not self._source.assignment() and time.monotonic() < deadline:
            self._source.poll(0.1)
        self._source.poll(0.5)

    def cases_per_s(self, window: int, seconds: float) -> float:
        """Closed loop: `window` cases in flight for `seconds`, then drain; cases/s over all."""
        begun = time.perf_counter()
        waiting = {self._send() for _ in range(window)}
        done = 0
        while waiting:
            if time.perf_counter() - begun > seconds + WAIT_S:
                raise TimeoutError(f"{self.target.name}: {len(waiting)} cases never ended")
            for key in self._take(0.05):
                if key in waiting:
                    waiting.discard(key)
                    done += 1
                    if time.perf_counter() - begun < seconds:
                        waiting.add(self._send())
        return done / (time.perf_counter() - begun)

    def one_at_a_time_ms(self, cases: int) -> list[float]:
        """Latencies in milliseconds, sorted, with nothing else in flight."""
        found: list[float] = []
        for _ in range(cases):
            begun = time.perf_counter()
            key = self._send()
            while key not in self._take(0.05):
                if time.perf_counter() - begun > WAIT_S:
                    raise TimeoutError(f"{self.target.name}: case {key} never ended")
            found.append(1000 * (time.perf_counter() - begun))
        return sorted(found)

    def close(self) -> None:
        """Leave."""
        self._source.close()

    def _send(self) -> str:
        data = event(self.number)
        self.number += 1
        key: str = data["id"]
        self._sink.produce(
            self.target.events, json.dumps(data), key, headers=self.target.headers(key)
        )
        self._sink.poll(0)
        return key

    def _take(self, timeout_s: float) -> list[str]:
        first = self._source.poll(timeout_s)
        if first is None:
            return []
        batch = [first, *self._source.consume(1000, 0)]
        return [(m.key() or b"").decode() for m in batch if m.error() is None]
