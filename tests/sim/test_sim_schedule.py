"""A run can be kept, run again, and made as short as its failure allows."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from events.sim_driver import SimDriver
from events.sim_schedule import Chance, Choice, Schedule, Tape, shorten
from tests.sim import counting, working
from tests.sim.counting import Broken


def first_failing(broken: Broken) -> Schedule:
    for seed in range(200):
        with counting.system(seed, broken, tracing=False) as driver:
            right = counting.verdict(driver)[0] == "right"
        if not right:
            with counting.system(seed, broken) as driver:
                counting.verdict(driver)
                return driver.schedule
    raise AssertionError("never failed")


def verdict_of(schedule: Schedule, broken: Broken) -> str:
    with counting.system(0, broken, schedule=schedule, tracing=False) as driver:
        return counting.verdict(driver)[0]


@pytest.mark.parametrize("toy", [counting.system, working.system], ids=["counting", "working"])
@pytest.mark.parametrize("seed", range(4))
def test_a_schedule_run_again_is_the_same_run(toy: Callable[..., SimDriver], seed: int) -> None:
    with toy(seed) as first:
        first.run(steps_max=600)
    with toy(999, schedule=first.schedule) as again:
        again.run(steps_max=600)

    assert again.trace == first.trace
    assert again.schedule == first.schedule


def test_what_a_schedule_leaves_open_is_calm_and_comes_to_a_good_end() -> None:
    with counting.system(8) as driver:
        driver.run(steps_max=200)
    whole = driver.schedule

    for part in (whole[:20], whole[::2], whole[50:], ()):
        assert verdict_of(part, "nothing") == "right"


@pytest.mark.parametrize(
    "broken", ["no offsets", pytest.param("promote before commit", marks=pytest.mark.slow)]
)
def test_a_failing_schedule_becomes_short_and_still_fails(broken: Broken) -> None:
    long = first_failing(broken)

    def fails(schedule: Schedule) -> bool:
        return verdict_of(schedule, broken) == "wrong"

    short = shorten(long, fails, tries_max=400)

    assert fails(short)
    assert len(short) < 40 < len(long)


def test_shortening_finds_the_two_choices_that_matter() -> None:
    schedule = [Choice(str(n), (0.5,)) for n in range(100)]

    def fails(candidate: Schedule) -> bool:
        by_key = {choice.key: choice for choice in candidate}
        return "17" in by_key and bool("80" in by_key and by_key["80"].draws)

    assert shorten(schedule, fails) == [Choice("17", ()), Choice("80", (0.5,))]


def test_a_schedule_that_does_not_fail_stays_as_it_is() -> None:
    schedule = [Choice("a")]

    assert shorten(schedule, lambda _: False) is schedule


def test_shortening_stops_when_it_has_tried_enough() -> None:
    tried: list[int] = []

    def fails(schedule: Schedule) -> bool:
        tried.append(len(schedule))
        return len(schedule) == 50

    shorten([Choice(str(n), (0.1,)) for n in range(50)], fails, tries_max=5)

    assert len(tried) == 5


def test_a_tape_draws_what_the_same_seed_draws_without_it() -> None:
    plain, tape = Chance(7), Tape(7, replays=False)

    drawn = [(r.random(), r.choice("abc"), r.randrange(10**12)) for r in (plain, tape)]

    assert drawn[0] == drawn[1]
    assert len(tape.cut()) == 4
    assert tape.cut() == ()


def test_what_chance_draws_is_fair() -> None:
    chance = Chance(1)
    thrown = [chance.randrange(6) for _ in range(6000)]

    assert all(900 < thrown.count(face) < 1100 for face in range(6))
    assert isinstance(chance, Random)
