"""I7: an agent that asks for key order gets it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from events.lanes import Lanes


@given(st.lists(st.sampled_from("abc"), max_size=30), st.randoms(use_true_random=False))
def test_i7_work_of_one_key_starts_in_order_and_one_at_a_time(keys: list[str], rng: Random) -> None:
    lanes: Lanes[tuple[str, int]] = Lanes()
    running: dict[str, tuple[str, int]] = {}
    started: list[tuple[str, int]] = []

    def start(work: tuple[str, int]) -> None:
        assert work[0] not in running
        running[work[0]] = work
        started.append(work)

    for number, key in enumerate(keys):
        if lanes.enter(key, (key, number)):
            start((key, number))
        if running and rng.random() < 0.4:
            done = rng.choice(sorted(running))
            del running[done]
            if (following := lanes.leave(done)) is not None:
                start(following)
    while running:
        done = min(running)
        del running[done]
        if (following := lanes.leave(done)) is not None:
            start(following)

    assert sorted(started, key=lambda work: work[1]) == list(zip(keys, range(99), strict=False))
    for key in "abc":
        assert [n for k, n in started if k == key] == [n for n, k in enumerate(keys) if k == key]
    assert lanes.waiting == 0


def test_work_without_a_key_never_waits() -> None:
    lanes: Lanes[int] = Lanes()
    assert lanes.enter(None, 1)
    assert lanes.enter(None, 2)
    assert lanes.leave(None) is None


def test_dropped_work_does_not_start_and_its_lane_goes_on() -> None:
    lanes: Lanes[int] = Lanes()
    assert lanes.enter("a", 1)
    assert not lanes.enter("a", 2)
    assert not lanes.enter("a", 3)

    assert lanes.drop(lambda work: work == 2) == [2]
    assert lanes.waiting == 1
    assert lanes.leave("a") == 3
    assert lanes.leave("a") is None
    assert lanes.enter("a", 4)
