"""Replays on Apache Kafka: killed with no warning, resumed, and each letter once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from events.broker import Message, TopicPartition
from events.dead_letters import dead_letter_record, letter_for
from events.kafka import KafkaBroker
from events.topics import Topics, catalogue
from schemas.commands import Replay
from tests.kafka.kafka_world import World
from tests.unit.command_line import COUNTS, state_record
from tests.unit.dead_cases import died, letter_of
from tests.unit.machine import AGENTS

LETTERS = 120
TIMEOUT_S = 90.0


@pytest.fixture
def topics(world: World) -> Topics:
    """Topics in which so many letters lie, each with its case."""
    made = Topics(world.ns)
    world.admin.create(catalogue(made, AGENTS, ["ticket"], COUNTS))
    for number in range(LETTERS):
        machine = died(f"e{number}")
        state = state_record(machine.case)._replace(topic=made.cases)
        world.put(state, letter_of(machine, made))
    return made


def started(world: World, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caseworks", "dlq", *args, "--bootstrap", world.bootstrap],
        env=os.environ | {"CASEWORKS_NAMESPACE": world.ns},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(world: World, *args: str) -> str:
    process = started(world, *args)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    return out


def replays(broker: KafkaBroker, topics: Topics) -> list[str]:
    """The ids of the replay commands that were committed so far."""
    found: list[str] = []
    with closing(broker.reader()) as reader:
        for number in range(COUNTS.inbox):
            at, position = TopicPartition(topics.inbox, number), 0
            while position < reader.end(at, committed=True):
                part = reader.read(at, position, 1000)
                position = part.next_offset
                found += [Replay.from_json(m.value or b"").command_id for m in part.messages]
    return found


def test_a_replay_that_is_killed_goes_on_with_the_rest_only(world: World, topics: Topics) -> None:
    chosen = ("--all", "--why", "fixed", "--yes", "--rate", "40/s", "--name", "r")
    process = started(world, "replay", *chosen)
    deadline = time.monotonic() + TIMEOUT_S
    while not replays(world.broker, topics) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    told = process.communicate()
    begun = len(replays(world.broker, topics))
    assert 0 < begun < LETTERS, told
    out = ran(world, "replay", "--resume", "r", "--yes", "--rate", "1000/s")
    found = Counter(replays(world.broker, topics))
    assert found.total() == len(found) == LETTERS
    assert "replayed" in out
    lag = world.admin.lag(topics.replay_group("r"))
    assert sum(max(0, each.end - (each.committed or 0)) for each in lag) == 0
    assert ran(world, "list", "--json") == ""


def test_a_letter_of_900_kb_with_forty_headers_is_listed_shown_and_goes_back_whole(
    world: World, topics: Topics
) -> None:
    value = b'{"text": "' + b"x" * 900_000 + b'"}'
    own = (("ce_id", b"big"), ("ce_source", b"/test"), ("ce_type", b"ticket.created"))
    more = tuple((f"x-{number}", b"v" * 20) for number in range(40))
    died_there = Message(topics.events, 1, 7, 1000, b"key", value, (*own, *more))
    letter = letter_for(died_there, "schema", error="e" * 500)
    world.put(dead_letter_record(died_there, topics.dlq(topics.events), letter))
    [told] = map(json.loads, ran(world, "list", "--reason", "schema", "--json").splitlines())
    assert "reason      schema" in ran(world, "show", told["place"])
    ran(world, "replay", told["place"])
    found: list[Message] = []
    with closing(world.broker.reader()) as reader:
        for number in range(COUNTS.events):
            at = TopicPartition(topics.events, number)
            found += reader.read(at, 0, 10).messages
    [back] = found
    assert back.value == value
    assert back.headers == (*own, *more, ("cw_dlq_replays", b"1"))
    assert ran(world, "list", "--reason", "schema", "--json") == ""
