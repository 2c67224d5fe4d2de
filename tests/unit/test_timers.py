"""Timers: an index that forgets what it need not fire."""

from __future__ import annotations

from coordinator.timers import SLOT_S, Timers


def test_a_timer_fires_after_its_time_and_stays_due_until_told() -> None:
    timers = Timers()
    timers.arm("a", 10.0)

    assert timers.due(9.9, 10) == []
    assert timers.due(10.0 + 2 * SLOT_S, 10) == ["a"]
    timers.fired(10.0 + 2 * SLOT_S, ["a"])
    assert timers.due(11.0, 10) == []


def test_an_earlier_timer_replaces_a_later_one_and_not_the_other_way() -> None:
    timers = Timers()
    timers.arm("a", 10.0)
    timers.arm("a", 5.0)
    timers.arm("a", 20.0)

    assert timers.due(6.0, 10) == ["a"]
    assert len(timers) == 1


def test_a_disarmed_case_leaves_nothing_behind() -> None:
    timers = Timers()
    for number in range(1000):
        timers.arm(f"case-{number}", 86_400.0)
        timers.disarm(f"case-{number}")

    assert len(timers) == 0
    assert not any(timers._coarse.keys.values())


def test_timers_far_apart_fire_in_their_order() -> None:
    timers = Timers()
    dues = {f"k{number}": (number * 7919) % 200_000 + 0.5 for number in range(500)}
    for key, due in dues.items():
        timers.arm(key, due)
    fired: list[str] = []
    for now in range(0, 201_000, 333):
        batch = timers.due(now, 10_000)
        assert all(now - 334 < dues[key] <= now for key in batch)
        timers.fired(now, batch)
        fired += batch

    assert sorted(fired) == sorted(dues)
    assert len(timers) == 0


def test_a_timer_that_is_armed_while_its_time_is_open_lies_with_the_others() -> None:
    timers = Timers()
    timers.arm("far", 1000.0)
    assert timers.due(990.0, 10) == []
    timers.arm("near", 995.0)
    timers.arm("far", 992.0)
    timers.disarm("gone")

    assert timers.due(996.0, 10) == ["far", "near"]


def test_a_clock_that_jumps_back_an_hour_fires_nothing_twice_and_loses_nothing() -> None:
    timers = Timers()
    timers.arm("a", 5000.0)
    timers.arm("b", 9000.0)
    assert timers.due(5001.0, 10) == ["a"]
    timers.fired(5001.0, ["a"])
    timers.arm("c", 1500.0)

    assert timers.due(1400.0, 10) == []
    assert timers.due(1501.0, 10) == ["c"]
    assert timers.due(9001.0, 10) == ["c", "b"]


def test_many_deadlines_of_a_day_share_few_slots() -> None:
    timers = Timers()
    for number in range(10_000):
        timers.arm(str(number), number * 8.64)

    assert len(timers._fine.keys) + len(timers._coarse.keys) < 1400
