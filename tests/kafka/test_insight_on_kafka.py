"""Insight as its own process on real Kafka, killed while facts flow: its tables stay exact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from caseworks.compose import build
from caseworks.insight.snapshot import path_of
from caseworks.loading import load_app
from caseworks.scan import partition_counts, partitions_of, records
from events.broker import Message, Record, TopicPartition
from events.envelope import record_of
from events.kafka import KafkaBroker
from events.settings import Settings
from schemas.alert import Alert
from schemas.approval import ApprovalEnded
from schemas.base import instant
from schemas.event import EventRef
from schemas.fact import CaseFact, DecisionFact
from schemas.result import RESULT_STATUSES, Result, StepReport
from schemas.usage import Usage

pytest.importorskip("faust", reason="the extra `insight` is not installed")

APP = "tests.kafka.insight_app:app"
ROOT = Path(__file__).parents[2]
LIMIT_S = 90.0
POLL_S = 0.05
CHUNK = 800
Counts = dict[str, Counter[str]]


class Insight:
    """The role's process, and what it wrote."""

    def __init__(self, bootstrap: str, folder: Path, **more: str) -> None:
        self.settings = Settings(
            bootstrap_servers=bootstrap,
            namespace=f"n{uuid4().hex[:8]}",
            data_dir=folder,
            inbox_partitions=2,
            events_partitions=1,
            tasks_partitions=1,
            results_partitions=2,
        )
        self.broker = KafkaBroker(bootstrap)
        build(load_app(APP), self.settings, broker=self.broker).ensure_topics()
        self._env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CASEWORKS_DATA_DIR": str(folder),
            "CASEWORKS_BOOTSTRAP_SERVERS": bootstrap,
            "CASEWORKS_NAMESPACE": self.settings.namespace,
            "CASEWORKS_INSIGHT_INTERVAL_S": "0.2",
            "CASEWORKS_INSIGHT_SAMPLES_MIN": "50",
            "CASEWORKS_LOG_LEVEL": "error",
            **more,
        }
        self._log = folder / "insight.err"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "caseworks", "insight", "--app", APP]
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, env=self._env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> int:
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def snapshot(self) -> dict[str, Any]:
        try:
            found = json.loads(path_of(self.settings.data_dir, self.settings.namespace).read_text())
        except FileNotFoundError:
            return {"positions": {}, "tables": {}}
        assert isinstance(found, dict)
        return found

    @property
    def counted(self) -> int:
        day = self.snapshot()["tables"].get("day", {})
        return int(day.get("all|", {}).get("n", 0))

    def until(self, reached: Callable[[], bool], deadline: float) -> None:
        while not reached():
            log = self._log.read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, f"it ended: {log}"
            assert time.monotonic() < deadline, f"{self.counted} counted; {log}"
            time.sleep(POLL_S)

    def facts(self) -> list[Message]:
        sources = partitions_of(partition_counts(self.broker), [self.settings.topics.facts])
        with closing(self.broker.reader()) as reader:
            return [message for source in sources for message in records(reader, source)]

    def write(self, results: list[Record], *, commit: bool = True) -> None:
        with closing(self.broker.transactional(f"{self.settings.namespace}-test")) as producer:
            producer.init()
            producer.begin()
            before = 0 if commit else self._written(results)
            producer.produce(results)
            if commit:
                producer.commit()
                return
            deadline = time.monotonic() + LIMIT_S
            while self._written(results) < before + len(results):  # an abort purges what waits
                assert time.monotonic() < deadline
                time.sleep(POLL_S)
            producer.abort()

    def _written(self, like: list[Record]) -> int:
        topics = sorted({record.topic for record in like})
        sources = partitions_of(partition_counts(self.broker), topics)
        with closing(self.broker.reader()) as reader:
            return sum(reader.ends(sources, committed=False).values())


@contextmanager
def insight(bootstrap: str, folder: Path, **more: str) -> Iterator[Insight]:
    running = Insight(bootstrap, folder, **more)
    try:
        yield running
    finally:
        running.kill()


def result(settings: Settings, at: int, now: float) -> Record:
    workflow = ("alpha", "refund", "refund")[at % 3]
    closed = now - at % 180
    model = Result(
        case_id=f"case-{at}",
        workflow=workflow,
        workflow_version="1",
        status=RESULT_STATUSES[at % 6],
        confidence=at % 101 / 100,
        steps={
            "look": StepReport(
                status="done", attempts=1 + at % 2, agent="look", agent_version=str(at % 4), ms=at
            )
        },
        usage=Usage(calls=at % 3, usd="0.000123"),  # type: ignore[arg-type]
        event=EventRef(id=str(at), source="/test", type=f"{workflow}.asked", time=instant(closed)),
        opened_at=instant(closed - at % 7),
        closed_at=instant(closed),
        amends=f"case-{at}:0" if at % 50 == 49 else None,
    )
    return record_of(
        model,
        f"{workflow}.completed",
        topic=settings.topics.results(workflow),
        key=str(at),
        ce_id=f"case-{at}:1",
        source="/test",
        now=now,
        travelling=(("ce_tenant", f"tenant-{at % 7}".encode()),),
    )


def aborted(settings: Settings, at: int, now: float) -> Record:
    """A fact in a transaction that never was."""
    fact = CaseFact(
        case_id=f"never-{at}",
        result_id=f"never-{at}:1",
        workflow=("alpha", "refund")[at % 2],
        status="completed",
        event_time=instant(now),
        at=instant(now),
    )
    return record_of(
        fact,
        fact.ce_type,
        topic=settings.topics.facts,
        key=fact.workflow,
        ce_id=fact.result_id,
        source="/test",
        now=now,
    )


def ended(settings: Settings, at: int, now: float) -> Record:
    model = ApprovalEnded(
        approval_id=f"case-{at}:look",
        case_id=f"case-{at}",
        workflow="alpha",
        ending="reject" if at % 2 else "approve",
        ended_at=instant(now),
    )
    return record_of(
        model,
        model.ce_type,
        topic=settings.topics.approvals,
        key=model.case_id,
        ce_id=f"{model.approval_id}:ended:1",
        source="/test",
        now=now,
    )


def counted_apart(facts: list[Message]) -> Counts:
    """The same count from the topic alone, by other means than those of insight."""
    found: Counts = {}
    for message in facts:
        if message.header("ce_type") == DecisionFact.ce_type:
            decision = DecisionFact.from_json(message.value or b"")
            for key in ("all|", f"workflow|{decision.workflow}"):
                more = Counter(decisions=1, overridden=int(decision.ending == "reject"))
                found.setdefault(key, Counter()).update(more)
            continue
        fact = CaseFact.from_json(message.value or b"")
        for key in ("all|", f"workflow|{fact.workflow}", f"tenant|{fact.tenant}"):
            found.setdefault(key, Counter()).update(_of(fact))
        if fact.amends is None:
            for step in fact.steps:
                more = Counter(n=1, attempts=step.attempts, ms_sum=step.ms, done=1)
                key = f"agent|{step.agent}@{step.version}"
                found.setdefault(key, Counter()).update(more)
    return found


def _of(fact: CaseFact) -> Counter[str]:
    if fact.amends is not None:
        return Counter(amended=1)
    return Counter(
        {
            "n": 1,
            fact.status: 1,
            "ms_sum": fact.ms,
            "micro_usd": int(fact.usage.usd * 1_000_000),
            "calls": fact.usage.calls,
            "attempts": fact.steps[0].attempts,
        }
    )


def told(table: dict[str, Any], wanted: Counts) -> Counts:
    """The same numbers out of a table of the snapshot."""
    return {
        key: Counter(
            {
                name: table[key].get(name, table[key].get("status", {}).get(name, 0))
                for name in wanted.get(key, Counter())
            }
        )
        for key in table
    }


@pytest.mark.slow
def test_tables_equal_an_independent_count_after_three_kills(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    deadline = time.monotonic() + LIMIT_S
    with insight(kafka_bootstrap, tmp_path) as role:
        settings, written = role.settings, 0
        for _ in range(3):
            now = time.time()
            role.write([result(settings, written + at, now) for at in range(CHUNK)])
            role.write([result(settings, 10_000 + at, now) for at in range(20)], commit=False)
            written += CHUNK
            before = role.counted
            role.until(lambda before=before: role.counted > before, deadline)  # type: ignore[misc]
            role.write([aborted(settings, at, now) for at in range(20)], commit=False)
            role.kill()
            role.start()
        role.write([ended(settings, at, time.time()) for at in range(30)])
        role.write([result(settings, written + at, time.time()) for at in range(CHUNK)])
        written += CHUNK
        role.until(lambda: len(role.facts()) >= written + 30, deadline)
        facts = role.facts()
        ends = {str(p): max(m.offset for m in facts if m.partition == p) + 1 for p in (0, 1)}
        role.until(lambda: role.snapshot()["positions"] == ends, deadline)
        tables = role.snapshot()["tables"]
        code = role.stop()

    wanted = counted_apart(facts)
    assert len(facts) == written + 30
    assert len({m.header("ce_id") for m in facts}) == written + 30
    assert wanted["all|"]["n"] == written - written // 50
    for name in ("minute", "hour", "day"):
        assert told(tables[name], wanted) == wanted
    assert code == 0


@pytest.mark.slow
def test_an_alert_fires_once_through_a_restart_and_clears(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    deadline = time.monotonic() + LIMIT_S
    with insight(kafka_bootstrap, tmp_path, CASEWORKS_INSIGHT_WINDOW_S="60") as role:
        role.write([failed(role.settings, at, time.time()) for at in range(60)])
        role.until(lambda: ("errors", "firing") in said(role), deadline)
        role.kill()
        role.start()
        role.until(lambda: role.counted == 60, deadline)
        role.write([failed(role.settings, at, time.time(), good=True) for at in range(60, 3000)])
        role.until(lambda: ("errors", "cleared") in said(role), deadline)
        assert role.stop() == 0
    told_by_workflow = [each for each in said(role, "workflow:alpha") if each[0] == "errors"]
    assert told_by_workflow == [("errors", "firing"), ("errors", "cleared")]


def said(role: Insight, scope: str = "workflow:alpha") -> list[tuple[str, str]]:
    source = TopicPartition(role.settings.topics.alerts, 0)
    with closing(role.broker.reader()) as reader:
        alerts = [Alert.from_json(message.value or b"") for message in records(reader, source)]
    return [(alert.rule, alert.state) for alert in alerts if alert.scope == scope]


def failed(settings: Settings, at: int, now: float, *, good: bool = False) -> Record:
    record = result(settings, at * 3, now)
    model = Result.from_json(record.value or b"").evolve(
        status="completed" if good else "failed", closed_at=instant(now), amends=None
    )
    return record._replace(value=model.to_json())
