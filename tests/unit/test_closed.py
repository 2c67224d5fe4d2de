"""Closed cases: remembered for the window, forgotten by the hour, in few bytes."""

from __future__ import annotations

import sys
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from coordinator.closed import HOUR_S, ClosedCases

SPACE = UUID(int=7)
WINDOW_S = 4 * HOUR_S


def case_id(number: int) -> str:
    return str(uuid5(SPACE, str(number)))


def filled(n: int, per_hour: int = 100) -> ClosedCases:
    closed = ClosedCases()
    for number in range(n):
        closed.add(case_id(number), HOUR_S * (number // per_hour))
    return closed


def test_what_was_closed_is_remembered_and_nothing_else() -> None:
    closed = filled(5000)

    assert all(case_id(number) in closed for number in range(5000))
    assert not any(case_id(number) in closed for number in range(5000, 9000))
    assert len(closed) == 5000
    assert "no uuid" not in closed
    assert "a" * 36 not in closed


def test_a_case_closed_again_counts_once_and_by_its_last_hour() -> None:
    closed = ClosedCases()
    closed.add(case_id(1), 0)
    closed.add(case_id(1), 9 * HOUR_S)

    assert len(closed) == 1
    assert closed.expired(9 * HOUR_S, WINDOW_S, 10) == []


def test_entries_leave_the_window_by_the_hour_and_stay_until_they_are_forgotten() -> None:
    closed = filled(1000)
    now = 3 * HOUR_S + WINDOW_S
    found: list[tuple[int, bytes]] = []
    while batch := closed.expired(now, WINDOW_S, 64):
        assert len(batch) <= 64
        assert len(closed) == 1000 - len(found)
        closed.forget(batch)
        found += batch

    assert sorted({hour for hour, _ in found}) == [0, 1, 2]
    assert len(found) == 300
    assert len(closed) == 700
    assert case_id(299) not in closed
    assert case_id(300) in closed
    assert closed.oldest == 3


def test_a_case_that_was_opened_again_is_forgotten() -> None:
    closed = filled(100)
    closed.discard(case_id(42))
    closed.discard(case_id(42_000))

    assert case_id(42) not in closed
    assert len(closed) == 99


def test_a_clock_that_jumped_back_an_hour_forgets_nothing_early() -> None:
    closed = filled(400)
    batch = closed.expired(HOUR_S * 2 + WINDOW_S, WINDOW_S, 1000)
    closed.forget(batch)
    closed.add(case_id(9000), HOUR_S * 1.5)  # an hour that seemed over

    assert closed.expired(HOUR_S * 1.5 + WINDOW_S, WINDOW_S, 1000) == []
    assert case_id(9000) in closed
    late = [closed.expired(HOUR_S * hour + WINDOW_S, WINDOW_S, 1000) for hour in (3, 5)]
    assert UUID(case_id(9000)).bytes in {digest for batch in late for _, digest in batch}


def test_a_million_would_take_less_than_forty_megabytes() -> None:
    closed = filled(50_000)
    held = sum(map(sys.getsizeof, closed._pages)) + sys.getsizeof(closed._pages)

    assert held / 50_000 < 40


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 5))))
def test_it_is_a_set(script: list[tuple[bool, int, int]]) -> None:
    closed, model = ClosedCases(), set()
    for adds, number, hour in script:
        if adds:
            closed.add(case_id(number), hour * HOUR_S)
            model.add(number)
        else:
            closed.discard(case_id(number))
            model.discard(number)

    assert {number for number in range(61) if case_id(number) in closed} == model
    assert len(closed) == len(model)
