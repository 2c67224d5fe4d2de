"""A running system with a real Prometheus beside it, whose alerts are in a hurry."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Self

import yaml

from caseworks.client import Publisher, new_event
from caseworks.shadowing import ROOT
from caseworks.topics import ensure_topics
from events.broker import ConsumerSpec, TopicPartition
from events.errors import CaseworksError
from events.kafka import KafkaBroker
from events.local_kafka import LocalKafka
from events.progress import Progress, encode
from events.settings import Settings
from schemas.event import Event
from tests.e2e.alerts_app import MENDED, app
from tests.e2e.system import COMMAND

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
# Minutes and hours as seconds. Windows keep their order, and hold a few scrapes each.
SHORT = {"1m": "2s", "2m": "3s", "5m": "3s", "10m": "6s", "15m": "30s", "30m": "4s"} | {
    "1h": "5s",
    "2h": "4s",
    "6h": "6s",
    "1d": "8s",
    "3d": "10s",
}
# Of alerts that compare with a size: the size that a small run reaches.
SMALLER = {
    "CaseworksLagHigh": ("> 1000", "> 15"),
    "CaseworksWorkBehind": ("> 1800", "> 0.3"),
    "CaseworksWorkOld": ("> 900", "> 3"),
    "CaseworksLagUnknown": ("> 120", "> 3"),
    "CaseworksLoopStalled": ("> 60", "> 3"),
}
SCRAPE = "500ms"
FIXED = {
    "CASEWORKS_INBOX_PARTITIONS": "1",
    "CASEWORKS_EVENTS_PARTITIONS": "1",
    "CASEWORKS_TASKS_PARTITIONS": "1",
    "CASEWORKS_RESULTS_PARTITIONS": "1",
    "CASEWORKS_LAG_INTERVAL_S": "0.5",
    "CASEWORKS_LAG_WINDOW_S": "3",
    "CASEWORKS_STUCK_AFTER_S": "0.5",
    "CASEWORKS_BREAKER_RESET_S": "1",
    "CASEWORKS_BREAKER_RAMP_S": "0",
    "CASEWORKS_PAUSE_AFTER_FAILURES": "0",
    "CASEWORKS_LOG_LEVEL": "warning",
}
WORKING = ("steady", "sick", "caller", "blocker")


def hurried(text: str) -> str:
    """The rules with short windows and small thresholds, and otherwise as they are."""
    text = re.sub(r"\[(\w+)\]", lambda found: f"[{SHORT[found[1]]}]", text)
    text = re.sub(r"\boffset (\w+)", lambda found: f"offset {SHORT[found[1]]}", text)
    read = yaml.safe_load(text)
    for group in read["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
            if (name := rule.get("alert")) in SMALLER:
                before, after = SMALLER[name]
                assert before in rule["expr"], name
                rule["expr"] = rule["expr"].replace(before, after)
    return yaml.safe_dump(read)


def free_ports(n: int) -> list[int]:
    with ExitStack() as held:
        found = []
        for _ in range(n):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


class Watched:
    """Kafka, a coordinator, a worker and Prometheus; a context manager that leaves none of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mended = folder / "mended"
        self._ended = ExitStack()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(("coordinator", "worker", "prometheus"), free_ports(3), strict=True))
        self.seen: set[str] = set()
        """Every alert that fired at any time."""

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.kafka = started.enter_context(LocalKafka.start(self.folder / "kafka"))
            # Before Kafka is asked to end: a stopped one does not hear it.
            started.callback(lambda: os.kill(self.kafka.pid, signal.SIGCONT))
            started.callback(self._end_all)
            self.environment = {
                **os.environ,
                **FIXED,
                "PYTHONPATH": str(ROOT),
                "CASEWORKS_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
                "CASEWORKS_DATA_DIR": str(self.folder / "data"),
                MENDED: str(self.mended),
            }
            self.settings = Settings(
                bootstrap_servers=self.kafka.bootstrap,
                inbox_partitions=1,
                events_partitions=1,
                tasks_partitions=1,
                results_partitions=1,
            )
            self.broker = KafkaBroker(self.kafka.bootstrap)
            ensure_topics(app, self.settings, self.broker)
            self.start("coordinator")
            self.start("worker")
            self._start_prometheus()
            self._ended = started.pop_all()
        return self

    def __exit__(self, *_reason: object) -> None:
        self._ended.close()

    # ---- processes

    def start(self, role: str) -> None:
        more = WORKING if role == "worker" else ()
        argv = [*COMMAND, role, *more, "--app", "tests.e2e.alerts_app:app"]
        self._run(role, argv, {"CASEWORKS_HTTP_PORT": str(self._ports[role])})

    def kill(self, role: str) -> None:
        process = self._running.pop(role)
        process.kill()
        process.wait(20)

    def answers(self, role: str) -> bool:
        """Whether it is ready."""
        return self._get(role, "/readyz")[0] == 200

    def started_at(self, role: str) -> str:
        """When its process began, as Prometheus knows it; empty while it does not answer."""
        instance = f'{{instance="127.0.0.1:{self._ports[role]}"}}'
        found = self.ask(f"process_start_time_seconds{instance} and up{instance} == 1")
        return str(found[0]["value"][1]) if found else ""

    def _run(self, name: str, argv: list[str], more: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _end_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def _start_prometheus(self) -> None:
        rules, config = self.folder / "rules.yml", self.folder / "prometheus.yml"
        rules.write_text(hurried(RULES.read_text(encoding="utf-8")))
        targets = [f"127.0.0.1:{self._ports[role]}" for role in ("coordinator", "worker")]
        scrape = {"job_name": "caseworks", "static_configs": [{"targets": targets}]}
        every = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE, "scrape_timeout": SCRAPE}
        told = {"global": every, "rule_files": [str(rules)], "scrape_configs": [scrape]}
        config.write_text(yaml.safe_dump(told))
        address = f"127.0.0.1:{self._ports['prometheus']}"
        argv = ["prometheus", f"--config.file={config}", f"--web.listen-address={address}"]
        self._run("prometheus", [*argv, f"--storage.tsdb.path={self.folder / 'tsdb'}"], {})

    # ---- what Prometheus says

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        status, body = self._get("prometheus", "/api/v1/alerts")
        if status != 200:
            return set()
        found = {
            each["labels"]["alertname"]
            for each in json.loads(body)["data"]["alerts"]
            if each["state"] == "firing"
        }
        self.seen |= found
        return found

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """What an expression says now."""
        from urllib.parse import quote

        status, body = self._get("prometheus", f"/api/v1/query?query={quote(expression)}")
        return json.loads(body)["data"]["result"] if status == 200 else []

    def until_firing(self, wanted: Iterable[str], timeout_s: float) -> None:
        """Poll until each of them has fired."""
        missing, deadline = set(wanted), time.monotonic() + timeout_s
        while missing := missing - self.firing():
            assert time.monotonic() < deadline, f"did not fire: {missing}; {self._logs()}"
            time.sleep(0.1)

    def until_clear(self, wanted: Iterable[str], timeout_s: float) -> None:
        """Poll until none of them fires."""
        deadline = time.monotonic() + timeout_s
        while left := self.firing().intersection(wanted):
            assert time.monotonic() < deadline, f"still firing: {left}; {self._logs()}"
            time.sleep(0.1)

    def _get(self, name: str, path: str) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self._ports[name], timeout=5)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            link.close()

    def _logs(self) -> str:
        return "\n".join(
            path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log"))
        )


class Traffic(Thread):
    """Publishes an event of each kind again and again, until it is closed."""

    def __init__(self, watched: Watched, every_s: float = 0.1) -> None:
        super().__init__(name="traffic", daemon=True)
        self.kinds = {"order.good"}
        """May be changed at any time."""
        self._every_s = every_s
        self._ended = Flag()
        self._publisher = Publisher(watched.broker, watched.settings)
        self.start()

    def send(self, kind: str, n: int = 1) -> None:
        for _ in range(n):
            event: Event = new_event(kind, {"item": "lamp"})
            self._publisher.send(event)

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            with suppress(CaseworksError):  # the broker is away: what waits is bounded
                for kind in tuple(self.kinds):
                    self.send(kind)

    def close(self) -> None:
        self._ended.set()
        self.join(10)
        self._publisher.close()


class Ghost(Thread):
    """The only member of the group of the agent `ghost`; commits what it is told to."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(name="ghost", daemon=True)
        topics = watched.settings.topics
        self._source = TopicPartition(topics.tasks("ghost"), 0)
        read = (self._source.topic, topics.tasks("ghost", "urgent"))
        self._spec = ConsumerSpec(topics.workers_group("ghost"), read)
        self._broker = watched.broker
        self._ended = Flag()
        self.mode = "follows"
        """`follows`: does all; `stuck`: the first is never done; `back`: starts anew; `idle`."""
        self._first: tuple[int, int] | None = None
        self._end = 0
        self.start()

    def run(self) -> None:
        consumer = self._broker.consumer(self._spec)
        while not self._ended.is_set():
            for message in consumer.take(1000, 0.2).messages:
                if message.source == self._source:
                    self._first = self._first or (message.offset, message.timestamp_ms)
                    self._end = message.offset + 1
            if self._first is None:
                continue
            with suppress(CaseworksError):
                self._commit(consumer)
        consumer.close()

    def _commit(self, consumer: Any) -> None:
        offset, head_ms = self._first or (0, 0)
        match self.mode:
            case "follows":
                consumer.commit({self._source: self._end})
            case "stuck":
                told = Progress(offset, self._end, (offset,), head_ms=head_ms)
                consumer.commit({self._source: offset}, {self._source: encode(told)})
            case "back":
                consumer.commit({self._source: 0})

    def close(self) -> None:
        self._ended.set()
        self.join(20)
