"""A task that hangs at the head of a partition, and one that kills its worker, on real Kafka."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import confluent_kafka as ck

from caseworks.client import Publisher, new_event
from caseworks.compose import System, build
from events.broker import Record, TopicPartition
from events.kafka import KafkaBroker
from events.progress import CHARS_MAX, decode
from events.settings import Settings
from schemas.base import instant
from schemas.dead_letter import PREFIX
from schemas.event import Event
from schemas.task import ReplyTo, Task
from tests.kafka.poison_app import HANGS, KILLS, app
from tests.kafka.test_fleet_on_kafka import answered

ROOT = Path(__file__).parents[2]
BEHIND = 50_000
HEAD_S = 20.0
"""Until the deadline of the task at the head."""
GRACE_S = 8.0
"""What the worker may take beyond it: its grace, a sweep, a commit, and a slow machine."""
LIVES_MAX = 8


def settings_of(namespace: str) -> Settings:
    return Settings(
        namespace=namespace,
        inbox_partitions=1,
        events_partitions=1,
        tasks_partitions=1,
        results_partitions=1,
        in_flight_max=1000,
        span_max=60_000,
        session_timeout_s=6.0,
    )


def environment(settings: Settings, bootstrap: str, **more: str) -> dict[str, str]:
    names = settings.model_fields_set
    told = {f"CASEWORKS_{name.upper()}": str(getattr(settings, name)) for name in names}
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **told,
        "CASEWORKS_BOOTSTRAP_SERVERS": bootstrap,
        "CASEWORKS_METRICS_PORT": "0",
        **more,
    }


def begin(agent: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "caseworks", "worker", agent)
    return subprocess.Popen(
        [*command, "--app", "tests.kafka.poison_app:app"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def worker(agent: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, killed at the end without a word."""
    process = begin(agent, env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(reached: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


def tasks(settings: Settings, n: int, until_s: float) -> Iterator[Record]:
    """The one that hangs, and *n* behind it."""
    event = Event(
        id="e1", source="t", type="parcel.sorted", time=instant(time.time()), data={"name": "x"}
    )
    template = Task(
        task_id="c1:sort",
        case_id="c1",
        workflow="sorting",
        workflow_version="1",
        step="sort",
        agent="sort",
        attempt=1,
        event=event,
        timeout_s=60.0,
        deadline=instant(until_s),
        reply_to=ReplyTo(topic=settings.topics.inbox, partition=0),
    )
    topic = settings.topics.tasks("sort")
    head = event.evolve(data={"name": HANGS})
    yield Record(topic, b"c1", template.evolve(event=head).to_json())
    later = template.evolve(deadline=template.deadline + timedelta(hours=1)).to_json()
    for _ in range(n):
        yield Record(topic, b"c1", later)


def test_a_restart_behind_a_task_that_hangs_redoes_none_of_what_was_done(
    kafka_bootstrap: str,
) -> None:
    settings = settings_of(f"head-{uuid4().hex[:8]}")
    broker = KafkaBroker(kafka_bootstrap)
    build(app, settings, broker=broker).ensure_topics()
    at = TopicPartition(settings.topics.tasks("sort"), 0)
    answers = TopicPartition(settings.topics.inbox, 0)
    group = settings.topics.workers_group("sort")
    env = environment(settings, kafka_bootstrap)
    asking = ck.Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": group})

    def committed() -> tuple[int, str]:
        [found] = asking.committed([ck.TopicPartition(*at)], timeout=10.0)
        return found.offset, found.metadata or ""

    def only_the_head_is_left() -> bool:
        offset, text = committed()
        if offset != 0 or not text:
            return False
        said = decode(text, 0)
        return (said.end, said.unfinished) == (BEHIND + 1, (0,))

    with (
        closing(broker.producer()) as producer,
        closing(broker.reader()) as reader,
        closing(asking),
    ):
        deadline_s = time.time() + HEAD_S
        for record in tasks(settings, BEHIND, deadline_s):
            producer.produce(record)
        assert producer.flush(20.0) == 0

        with worker("sort", env):
            until(only_the_head_is_left, HEAD_S, "all done but the head")
        assert len(committed()[1]) <= CHARS_MAX
        assert reader.end(answers, committed=True) == BEHIND

        with worker("sort", env):
            left_s = deadline_s - time.time() + GRACE_S
            until(lambda: committed()[0] == BEHIND + 1, left_s, "the commit passes the head")
        assert reader.end(answers, committed=True) == BEHIND + 1


@contextmanager
def coordinator(system: System) -> Iterator[None]:
    stop = Flag()
    thread = Thread(target=system.run_coordinator, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_task_that_kills_its_worker_is_answered_at_its_third_start(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    settings = settings_of(f"loop-{uuid4().hex[:8]}")
    broker = KafkaBroker(kafka_bootstrap)
    system = build(app, settings, broker=broker)
    system.ensure_topics()
    starts = tmp_path / "starts"
    env = environment(settings, kafka_bootstrap, POISON_STARTS=str(starts))
    names = [*(f"p{n}" for n in range(10)), KILLS, *(f"q{n}" for n in range(10))]
    lives = 0
    flag = Flag()

    def supervise() -> None:
        nonlocal lives
        while not flag.is_set() and lives < LIVES_MAX:
            lives += 1
            process = begin("weigh", env)
            while process.poll() is None and not flag.wait(0.05):
                pass
            process.kill()
            process.wait()

    supervisor = Thread(target=supervise)
    with coordinator(system), closing(Publisher(broker, settings)) as publisher:
        for name in names:
            publisher.send(new_event("parcel.came", {"name": name}, subject=name))
        publisher.flush()
        supervisor.start()
        found = answered(system, settings, len(names), time.monotonic() + 60.0, "weighing")
        flag.set()
        supervisor.join()

    by_name = {result.event.subject: result for result in found}
    assert set(by_name) == set(names)
    assert by_name.pop(KILLS).status == "escalated"
    assert {result.status for result in by_name.values()} == {"completed"}
    began = Counter(starts.read_text().split())
    assert began[KILLS] == 2
    assert lives == 3
    dead = TopicPartition(settings.topics.dlq(settings.topics.tasks("weigh")), 0)
    with closing(broker.reader()) as reader:
        letters = reader.read(dead, 0, 10).messages
    assert [letter.header(PREFIX + "reason") for letter in letters] == ["crash_loop"]
    assert b'"kills"' in (letters[0].value or b"")
