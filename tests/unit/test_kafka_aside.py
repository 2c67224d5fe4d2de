"""Calls that may hang, made aside."""

from __future__ import annotations

from threading import Event, current_thread

import pytest

from events.kafka.aside import Aside


def test_a_call_is_made_on_another_thread_and_waited_for() -> None:
    aside = Aside("aside")
    names: list[str] = []
    for _ in range(2):
        aside.run(lambda: names.append(current_thread().name), 5)
    aside.close()
    assert names == ["aside", "aside"]


def test_what_a_call_raises_comes_out() -> None:
    aside = Aside("aside")
    with pytest.raises(ZeroDivisionError):
        aside.run(lambda: divide_by(0), 5)
    aside.close()


def test_a_call_that_hangs_is_left_behind() -> None:
    aside, forever = Aside("aside"), Event()
    with pytest.raises(TimeoutError):
        aside.run(lambda: assert_set(forever), 0.01)
    aside.close()
    forever.set()


def assert_set(event: Event) -> None:
    assert event.wait(20)


def divide_by(divisor: int) -> None:
    assert 1 // divisor
