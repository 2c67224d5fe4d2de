"""The projection against what the topics say, however reads are cut and whatever kills it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caseworks.projection.connection import projection_path
from caseworks.projection.read import ReadModel
from caseworks.projection.run import Projection
from events.errors import SetupError
from events.memory import MemoryBroker
from events.metrics import Prometheus
from events.settings import Settings
from tests.unit.machine import START, Machine
from tests.unit.projected import (
    Story,
    differences,
    interleaved,
    make_topics,
    put,
    settings_in,
)

NOW = START + 100


class World:
    """A broker with topics, and projections of it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.settings: Settings = settings_in(folder, **more)
        self.topics = self.settings.topics
        self.broker = MemoryBroker(lambda: self.written_at)
        self.story = Story(self.topics)
        self.telemetry = Prometheus()
        self.now = self.written_at = NOW
        make_topics(self.broker, self.topics)

    @property
    def path(self) -> Path:
        return self.projection().path

    def projection(self) -> Projection:
        return Projection(
            self.broker, self.settings, clock=lambda: self.now, telemetry=self.telemetry
        )

    def read(self) -> ReadModel:
        return ReadModel(self.projection().path, clock=lambda: self.now)

    def catch_up(self) -> ReadModel:
        with self.projection() as running:
            running.run_once()
        return self.read()

    def differences(self) -> list[str]:
        return differences(self.broker, self.topics, self.projection().path)

    def rebuilds(self, reason: str) -> float | None:
        return self.telemetry.value("caseworks_projection_rebuilds_total", reason=reason)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told_by(world: World, seed: int, cases: int = 40) -> list[Any]:
    """What happens to so many cases; of another seed to other ones."""
    dice = random.Random(seed)
    numbers = range(seed * 1000, seed * 1000 + cases)
    return list(interleaved([world.story.lives(n, dice) for n in numbers], dice))


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_changelog_however_reads_are_cut(world: World, seed: int) -> None:
    told, dice = told_by(world, seed), random.Random(seed)
    with world.projection() as running:
        while told:
            n = dice.choice((1, 2, 7, 60))
            put(world.broker, told[:n])
            del told[:n]
            running.run_once()
    assert world.differences() == []


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "of a later version": lambda state: {**state, "v": 99},
    "an amount that is none": lambda state: {**state, "usage": {"usd": "much"}},
    "an amount without end": lambda state: {**state, "usage": {"usd": "1e999999999999999999"}},
    "nested without end": lambda state: {**state, "more": msgspec.Raw(b"[" * 100_000)},
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_state_that_nobody_can_read_is_counted_and_passed_over(world: World, how: str) -> None:
    good = world.story.state(Machine())
    spoilt = msgspec.json.encode(SPOILT[how](msgspec.json.decode(good.value or b"")))
    put(world.broker, [world.story.changelog(b"case-x", spoilt), good])
    model = world.catch_up()
    assert [line.case_id for line in model.cases().items] == [(good.key or b"").decode()]
    assert b"caseworks_projection_skipped_total{" in world.telemetry.text()


def test_a_result_that_is_half_readable_may_be_amended(world: World) -> None:
    machine = Machine()
    for step in ("triage", "billing", "kb", "reply"):
        machine.says(step)
    [result] = world.story.results(machine)
    whole = msgspec.json.decode(result.value or b"")
    odd = {**whole, "status": "of a later version"}
    amending = {**whole, "amends": f"{whole['case_id']}:1"}
    put(
        world.broker,
        [result._replace(value=msgspec.json.encode(each)) for each in (odd, amending)],
    )
    [line] = world.catch_up().cases().items
    assert (line.case_id, line.status) == (whole["case_id"], "completed")


def test_the_comparison_sees_a_row_that_is_wrong(world: World) -> None:
    put(world.broker, told_by(world, 1))
    world.catch_up().close()
    with closing(sqlite3.connect(world.projection().path, isolation_level=None)) as db:
        db.execute("UPDATE cases SET status = 'parked' WHERE id = 1")
        db.execute("DELETE FROM bodies WHERE id = 2")
        db.execute("DELETE FROM cases WHERE id = 3")
    assert len(world.differences()) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_an_end_in_the_middle_of_a_transaction_loses_and_doubles_nothing(
    world: World, seed: int
) -> None:
    """SQLite asks its progress handler every few instructions: that may end anything anywhere."""
    told, dice = told_by(world, seed), random.Random(seed)
    kills = 0
    while told:
        n = dice.choice((5, 20, 60))
        put(world.broker, told[:n])
        del told[:n]
        running = world.projection().__enter__()
        left = dice.randrange(1, 400)

        def count_down() -> int:
            nonlocal left
            left -= 1
            return int(left < 0)

        running.writer.db.set_progress_handler(count_down, 20)
        with suppress(sqlite3.OperationalError, SetupError):
            running.run_once()
        kills += left < 0
        running.__exit__(None, None, None)
    assert kills > 1
    world.catch_up().close()
    assert world.differences() == []


@pytest.mark.parametrize("seed", range(3))
def test_what_a_kill_leaves_on_the_disk_is_gone_on_with(world: World, seed: int) -> None:
    """Copies of the files, made in the middle of transactions, are what a kill would leave."""
    told, dice = told_by(world, seed), random.Random(seed)
    images: list[Path] = []

    def copy_now_and_then() -> int:
        if dice.random() < 0.02:
            image = world.settings.data_dir / f"image-{len(images)}"
            (image / "projection").mkdir(parents=True)
            for end in ("", "-wal"):
                shutil.copy(f"{world.path}{end}", f"{image}/projection/cw.sqlite{end}")
            images.append(image)
        return 0

    with world.projection() as running:
        while told:
            put(world.broker, told[:30])
            del told[:30]
            running.writer.db.set_progress_handler(copy_now_and_then, 100)
            running.run_once()
    assert images
    for image in images:
        path = projection_path(image, "cw")
        ReadModel(path, clock=lambda: world.now).overview()  # readers need no writer
        settings = settings_in(image)
        with Projection(world.broker, settings, clock=lambda: world.now) as again:
            assert again.writer.positions  # it goes on, and does not begin anew
            again.run_once()
        assert differences(world.broker, world.topics, path) == []


def test_one_rebuilt_from_a_compacted_topic_says_the_same_of_every_case(world: World) -> None:
    put(world.broker, told_by(world, 5))
    live = world.catch_up()
    world.broker.compact(world.topics.cases)
    before = {line.case_id: line for line in live.cases(limit=500).items}
    with world.projection() as running:
        running.rebuild()
        running.run_once()
    assert world.differences() == []
    after = {line.case_id: line for line in world.read().cases(limit=500).items}
    assert before.keys() == after.keys()
    for case_id, line in after.items():
        assert (line.status, line.usd, line.subject) == (
            before[case_id].status,
            before[case_id].usd,
            before[case_id].subject,
        )
    assert world.rebuilds("asked") == 1
