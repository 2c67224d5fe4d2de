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
    assert not any(timers._slots.values())
