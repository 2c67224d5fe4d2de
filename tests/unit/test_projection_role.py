"""The role around the projection: readers beside it, brokers that go away, the command."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from caseworks.projection.connection import projection_path
from caseworks.projection.run import AWAY_S, Projection
from events.broker import LogSlice, TopicPartition
from events.errors import RetriableError, SetupError
from events.memory import MemoryBroker
from events.memory.reader import MemoryLogReader
from tests.unit.command_line import TOPICS, CommandLine
from tests.unit.machine import Machine
from tests.unit.projected import Story, make_topics, put
from tests.unit.test_projection_writer import World, told_by


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Topics in which 40 cases lie."""
    made = World(tmp_path)
    put(made.broker, told_by(made, 2))
    return made


def test_readers_follow_when_the_file_is_made_anew(world: World) -> None:
    model = world.catch_up()
    before = [line.case_id for line in model.cases().items]
    with world.projection() as running:
        running.rebuild()
        assert not model.cases().items
        assert not model.behind().ready
        running.run_once()
        assert model.behind().ready
    assert sorted(line.case_id for line in model.cases().items) == sorted(before)


def test_one_read_model_serves_many_threads_while_it_is_written(world: World) -> None:
    model = world.catch_up()

    def ask(_number: int) -> int:
        page = model.cases(limit=10)
        return sum(model.case(line.case_id) is not None for line in page.items)

    with world.projection() as running, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, number) for number in range(40)]
        for seed in range(3, 9):
            put(world.broker, told_by(world, seed, cases=5))
            running.run_once()
        assert {each.result() for each in asked} == {10}


class Away(MemoryLogReader):
    """A reader whose broker does not answer for a while."""

    refusals = 0

    def read_many(
        self, offsets: Mapping[TopicPartition, int], n: int
    ) -> dict[TopicPartition, LogSlice]:
        if self.refusals:
            self.refusals -= 1
            raise RetriableError("no answer")
        return super().read_many(offsets, n)


class AwayBroker(MemoryBroker):
    """Its readers are `Away`."""

    last: Away

    def reader(self) -> Away:
        self.last = Away(self.link)
        return self.last


def test_a_broker_that_is_away_is_waited_for_and_readiness_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broker = broker = AwayBroker(lambda: world.written_at)
    make_topics(world.broker, world.topics)
    put(world.broker, told_by(world, 2))
    with world.projection() as running:
        running.run_once()
        assert running.ready() == (True, "ready")
        broker.last.refusals = 1
        with pytest.raises(RetriableError):
            running.turn()
        world.now += AWAY_S + 1
        assert running.ready() == (False, "the broker does not answer")
        running.turn()
        assert running.ready()[0]


def test_it_ends_when_it_is_told_to(world: World) -> None:
    stop = Event()
    stop.set()
    with world.projection() as running:
        assert running.run(stop) == 0


def test_without_topics_it_says_what_to_do(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broker = MemoryBroker()
    with pytest.raises(SetupError, match="caseworks topics create"):
        world.projection().__enter__()


def test_the_command_reads_up_to_the_end_and_says_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEWORKS_DATA_DIR", str(tmp_path))
    command = CommandLine()
    command.make_topics()
    command.produce(Story(TOPICS).state(Machine()))
    ran = command("projection", "--once")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{projection_path(tmp_path, 'cw')}: 0 records behind\n"
    assert command("projection", "--once", "--rebuild").code == 0


def test_the_command_refuses_to_be_a_second_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEWORKS_DATA_DIR", str(tmp_path))
    world = World(tmp_path)
    command = CommandLine(world.broker)
    with Projection(world.broker, world.settings):
        ran = command("projection", "--once")
    assert ran.code == 3
    assert "another process writes the projection" in ran.err
