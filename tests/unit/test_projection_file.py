"""The file of the projection: who may write it, and what becomes of one that cannot be trusted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from caseworks.projection.file import open_file
from events.broker import TopicPartition
from events.errors import SetupError
from events.memory import MemoryBroker
from tests.unit.projected import make_topics, put
from tests.unit.test_projection_writer import World, told_by


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A projection that was written and closed."""
    made = World(tmp_path)
    put(made.broker, told_by(made, 3))
    made.catch_up().close()
    return made


def test_what_was_written_is_not_read_again(world: World) -> None:
    before = world.telemetry.value("caseworks_projection_records_total", topic="cw.cases")
    world.catch_up().close()
    after = world.telemetry.value("caseworks_projection_records_total", topic="cw.cases")
    assert before == after
    assert world.rebuilds("version") is None


def test_a_file_of_another_version_is_made_anew(world: World) -> None:
    with closing(sqlite3.connect(world.path)) as db:
        db.execute("PRAGMA user_version = 99")
    world.catch_up().close()
    assert world.rebuilds("version") == 1
    assert world.differences() == []


@pytest.mark.parametrize(
    "start", [b"this is no database at all", b"SQLite format 3\0" + b"\xff" * 9]
)
def test_what_is_no_database_is_set_aside_and_made_anew(world: World, start: bytes) -> None:
    data = world.path.read_bytes()
    world.path.write_bytes(start + data[len(start) :])
    world.catch_up().close()
    assert world.rebuilds("corrupt") == 1
    assert world.differences() == []
    assert Path(f"{world.path}.aside").read_bytes()[: len(start)] == start


def test_a_truncated_file_is_made_anew(world: World) -> None:
    data = world.path.read_bytes()
    world.path.write_bytes(data[: len(data) // 2 // 8192 * 8192])
    world.catch_up().close()
    assert world.rebuilds("corrupt") == 1
    assert world.differences() == []


def test_a_file_that_breaks_under_the_writer_is_made_anew(world: World) -> None:
    with world.projection() as running:
        running.writer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        running.writer.db.execute("PRAGMA shrink_memory")
        running.writer.db.execute("PRAGMA cache_size = 0")
        size = world.path.stat().st_size
        with world.path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (size - 8192))
        put(world.broker, told_by(world, 4))
        running.run_once()
    assert world.rebuilds("corrupt") == 1
    assert world.differences() == []


def test_another_writer_is_refused(world: World) -> None:
    with world.projection(), pytest.raises(SetupError, match="another process writes"):
        world.projection().__enter__()
    world.catch_up().close()  # it has let go


def test_where_it_cannot_be_written_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "projection").write_text("a file where a folder should be")
    with pytest.raises(SetupError, match="CASEWORKS_DATA_DIR"):
        World(tmp_path).projection().__enter__()


def test_a_file_that_may_only_be_read_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "cw.sqlite"
    path.mkdir()  # what even root cannot open as a file
    with pytest.raises(SetupError, match="cannot be written"):
        open_file(path)
    assert path.is_dir()


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(world: World) -> None:
    world.broker = MemoryBroker()
    make_topics(world.broker, world.topics)
    put(world.broker, told_by(world, 8, cases=3))
    world.catch_up().close()
    assert world.rebuilds("topic") == 1
    assert world.differences() == []


def test_positions_beyond_the_end_of_a_topic_are_not_believed(world: World) -> None:
    with world.projection() as running, running.writer.db as db:
        db.execute("UPDATE positions SET next = next + 1000 WHERE topic = 'cw.cases'")
    world.catch_up().close()
    assert world.rebuilds("topic") == 1
    assert world.differences() == []


def test_what_retention_deleted_unread_is_not_jumped_over(world: World) -> None:
    results = TopicPartition(world.topics.results("ticket"), 0)
    put(world.broker, told_by(world, 9, cases=60)[200:])
    world.broker.trim(results, world.broker.reader().end(results, committed=True))
    world.catch_up().close()
    assert world.rebuilds("retention") == 1
    assert world.differences() == []
