"""The projection on Apache Kafka: killed with no warning as it reads, and equal to its topics."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from caseworks.projection.connection import projection_path
from caseworks.projection.read import ReadModel
from events.topics import Topics
from tests.kafka.kafka_world import World
from tests.unit.projected import Story, differences, interleaved, make_topics

CASES = 600
CHUNK = 150
KILLS = 4
TIMEOUT_S = 60.0


def started(world: World, folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caseworks", "projection", *args, "--bootstrap", world.bootstrap],
        env=os.environ
        | {
            "CASEWORKS_NAMESPACE": world.ns,
            "CASEWORKS_DATA_DIR": str(folder),
            "CASEWORKS_LOG_LEVEL": "warning",
            "CASEWORKS_PROJECTION_INTERVAL_S": "0.01",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_equals_the_topics_after_kills_in_the_middle(world: World, tmp_path: Path) -> None:
    topics, dice = Topics(world.ns), random.Random(7)
    make_topics(world.broker, topics)
    story = Story(topics, time.time())
    told = interleaved([story.lives(number, dice) for number in range(CASES)], dice)
    kills = 0
    running = started(world, tmp_path)
    assert running.stdout is not None
    try:
        running.stdout.readline()  # it has begun
        while chunk := list(islice(told, CHUNK)):
            world.put(*chunk)
            if kills < KILLS and dice.random() < 0.4:
                time.sleep(dice.random() * 0.05)  # anywhere in what it does with them
                running.send_signal(signal.SIGKILL)
                running.communicate(timeout=TIMEOUT_S)
                kills += 1
                running = started(world, tmp_path)
                assert running.stdout is not None
                running.stdout.readline()
    finally:
        running.kill()
        running.communicate(timeout=TIMEOUT_S)
    assert kills == KILLS
    aborted(world, story)
    ended = started(world, tmp_path, "--once")
    out, err = ended.communicate(timeout=TIMEOUT_S)
    assert ended.returncode == 0, err
    assert ": 0 records behind" in out
    path = projection_path(tmp_path, world.ns)
    assert differences(world.broker, topics, path) == []
    with closing(ReadModel(path)) as model:
        assert model.behind().records == 0
        assert sum(model.overview().by_status.values()) > CASES * 0.8


def aborted(world: World, story: Story) -> None:
    """Records that never were: what a read-committed reader must not see."""
    producer = world.closing(world.broker.transactional(f"{world.ns}-aborted"))
    producer.init()
    producer.begin()
    producer.produce(story.lives(CASES + 1, random.Random(1)))
    producer.abort()
