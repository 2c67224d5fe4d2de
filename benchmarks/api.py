"""What the REST API does: events a second that Kafka acknowledged, and one agent asked at a time.

`python -m benchmarks.api [--only publish|process] [--connections 64] [--seconds 10]`: one Apache
Kafka, one `caseworks api`; the client is a raw keep-alive connection a coroutine, bounded in time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from benchmarks.workload import event
from caseworks import App
from caseworks.stage import Cast, Stage
from events.settings import Settings

TARGET = "benchmarks.api:app"
WARM_UP_S = 3.0
READY_S = 60.0

app = App("api-bench")


@app.agent(in_flight_max=4000, direct=True)
async def noop(ticket: dict[str, Any]) -> dict[str, Any]:
    """Nothing."""
    return {"case": ticket["id"]}


app.workflow("noop", on={"ticket.created": dict[str, Any]}, steps=[noop])


@dataclass
class Load:
    """What a number of connections saw."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        found = sorted(self.latencies_ms)
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


def publishing(number: int) -> bytes:
    """One event in binary mode."""
    body = json.dumps(event(number)).encode()
    head = (
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"ce-specversion: 1.0\r\nce-id: {uuid4()}\r\nce-source: bench\r\n"
        f"ce-type: ticket.created\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def processing(number: int) -> bytes:
    """One agent asked, and its answer waited for."""
    body = json.dumps(event(number)).encode()
    head = (
        "POST /api/v1/agents/noop/process?timeout_s=30 HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connection(port: int, make: Any, first: int, until: float, load: Load) -> None:
    """Requests one after the other until the time is up."""
    source, sink = await asyncio.open_connection("127.0.0.1", port)
    number = first
    while time.monotonic() < until:
        number += 1
        request = make(number)
        begun = time.perf_counter()
        sink.write(request)
        head = await source.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length:") + 15
        await source.readexactly(int(head[at : head.index(b"\r\n", at)]))
        load.latencies_ms.append(1000 * (time.perf_counter() - begun))
        status = int(head[9:12])
        load.statuses[status] = load.statuses.get(status, 0) + 1
    sink.close()


async def run(port: int, make: Any, connections: int, seconds: float) -> Load:
    """So many connections at once, for so long."""
    load, until = Load(), time.monotonic() + seconds
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(
            *(connection(port, make, n * 1_000_000, until, load) for n in range(connections))
        )
    return load


@contextmanager
def api(settings: Settings) -> Iterator[tuple[int, psutil.Process]]:
    """A process `caseworks api`, and its port."""
    env = {
        **os.environ,
        "CASEWORKS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "CASEWORKS_DATA_DIR": str(settings.data_dir),
        "CASEWORKS_API_PORT": "0",
        "CASEWORKS_LOG_LEVEL": "warning",
    }
    argv = [sys.executable, "-m", "caseworks", "api", "--app", TARGET]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("api http://"):
                raise SystemExit(f"the API did not start: {line!r}")
            yield int(line.strip().rpartition(":")[2]), psutil.Process(process.pid)
        finally:
            process.terminate()


def measured(port: int, api_process: psutil.Process, make: Any, given: argparse.Namespace) -> None:
    """One kind of request: warmed up, then measured and told."""
    asyncio.run(run(port, make, given.connections, WARM_UP_S))
    ours = psutil.Process().children(recursive=True)
    kafka = next((each for each in ours if each.name() == "java"), None)
    before = [_cpu_s(p) for p in (api_process, kafka)]
    client, begun = time.process_time(), time.perf_counter()
    load = asyncio.run(run(port, make, given.connections, given.seconds))
    took = time.perf_counter() - begun
    client_s = time.process_time() - client
    api_s, kafka_s = (_cpu_s(p) - b for p, b in zip((api_process, kafka), before, strict=True))
    count = len(load.latencies_ms)
    print(
        f"{make.__name__}: {count / took:,.0f}/s over {given.connections} connections, "
        f"p50 {load.percentile(0.5):.1f} ms, p99 {load.percentile(0.99):.1f} ms, "
        f"answers {load.statuses}"
    )
    print(
        f"  CPU a request: api {1e6 * api_s / count:.0f} us, kafka {1e6 * kafka_s / count:.0f} us, "
        f"client {1e6 * client_s / count:.0f} us"
    )


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("publish", "process"))
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="caseworks-api-") as folder:
        settings = Settings(data_dir=Path(folder))
        if given.only != "process":
            _publish(settings, given)
        if given.only != "publish":
            given.connections = 1
            with Stage(app, settings, Cast(target=TARGET)) as stage:
                stage.wait_ready()
                with api(stage.settings) as (port, process):
                    measured(port, process, processing, given)


def _publish(settings: Settings, given: argparse.Namespace) -> None:
    """With nobody who takes the events: the machine is the API's, Kafka's and the client's."""
    from caseworks.compose import build
    from events.local_kafka import LocalKafka

    with LocalKafka.start(settings.data_dir) as kafka:
        there = settings.model_copy(update={"bootstrap_servers": kafka.bootstrap})
        build(app, there).ensure_topics()
        with api(there) as (port, process):
            measured(port, process, publishing, given)


if __name__ == "__main__":
    main()
