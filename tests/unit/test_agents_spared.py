"""What an outage costs an attempt, how fast work comes back, and when an agent is paused."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from agents.context import Context
from agents.limits.dependencies import DependencyLimits
from agents.limits.failures import FailureLimits, FailureWindow, pattern_of
from agents.limits.fleet_view import FleetView
from agents.limits.pace import Pace
from events.errors import TransientError
from events.topics import Topics
from schemas.control import PauseOrder
from tests.unit.test_fleet import Line
from tests.unit.workbench import Answer, Ticket, Workbench, a_message, a_task

# ---- what an open breaker spares


def attempt(*, raised: Exception, failures_max: int) -> Workbench:
    async def asks(ticket: Ticket, ctx: Context) -> Answer:
        try:
            async with ctx.call("crm"):
                raise TransientError("503")
        except TransientError as error:
            if type(raised) is KeyError:
                raise TransientError("later") from error
        raise raised

    bench = Workbench(asks, {"calls": ("crm",), "tries_max": 1})
    bench.dependencies.limits = {"crm": DependencyLimits(failures_max=failures_max)}
    return bench


def test_an_error_raised_from_the_dependencys_is_spared_when_its_breaker_is_open() -> None:
    [outcome] = attempt(raised=KeyError(), failures_max=1).run(a_message(a_task("asks")))

    assert outcome.status == "deferred"


def test_an_error_of_something_else_is_not() -> None:
    [outcome] = attempt(raised=TransientError("disk"), failures_max=1).run(
        a_message(a_task("asks"))
    )

    assert outcome.status == "retry"


def test_nor_is_one_while_the_breaker_is_closed() -> None:
    [outcome] = attempt(raised=KeyError(), failures_max=5).run(a_message(a_task("asks")))

    assert outcome.status == "retry"


def test_an_attempt_that_the_dependency_let_hang_is_spared() -> None:
    async def hangs(ticket: Ticket, ctx: Context) -> Answer:
        async with ctx.call("crm"):
            await asyncio.sleep(1000)
        raise AssertionError

    bench = Workbench(hangs, {"calls": ("crm",), "tries_max": 1})
    bench.dependencies.limits = {"crm": DependencyLimits(failures_max=1)}
    [outcome] = bench.run(a_message(a_task("hangs")), seconds=60.0)

    assert outcome.status == "deferred"


# ---- pace


def test_the_pace_of_recovery_is_not_quite_twice_that_of_before() -> None:
    pace = Pace()
    for tenth in range(200):
        pace.free(2, tenth / 10)
    assert pace.rate_per_s == pytest.approx(20, rel=0.1)

    taken = 0
    for step in range(1000):
        n = pace.allowed(100 + step / 100)
        pace.spend(n)
        taken += n
    assert taken == pytest.approx(1.8 * 20 * 10, rel=0.1)
    assert taken <= 2 * 20 * 10


def recovered(gate_free_s: float, waiting: int, arrivals_per_s: int) -> tuple[list[int], float]:
    """Starts in each second of a recovery from t=100 on, and when it stood free at last."""
    pace, taken, free_s = Pace(), [0] * 60, 0.0
    for tenth in range(200):
        pace.free(2, tenth / 10)
    for step in range(6000):
        now = 100 + step / 100
        waiting += arrivals_per_s * (step + 1) // 100 - arrivals_per_s * step // 100
        said = pace.standing("slow" if now < gate_free_s else "free", now)
        n = min(waiting, pace.allowed(now) if said == "slow" else 1000)
        if said == "slow":
            pace.spend(n)
        else:
            pace.free(n, now)
            free_s = free_s or now
        waiting -= n
        taken[step // 100] += n
    return taken, free_s


def test_a_backlog_is_taken_up_ever_faster_and_never_at_once() -> None:
    taken, free_s = recovered(gate_free_s=110.0, waiting=1200, arrivals_per_s=20)
    assert sum(taken[:10]) <= 2 * 20 * 10
    assert max(taken[10:15]) <= 20 * 1.8**1.6, "half a span later"
    assert all(after <= 1.4 * max(before, 20) for before, after in pairwise(taken)), taken
    assert 120 < free_s < 135
    assert taken[-1] == 20


def test_who_has_caught_up_is_free_as_soon_as_the_fleet_says_so() -> None:
    _, free_s = recovered(gate_free_s=110.0, waiting=100, arrivals_per_s=10)
    assert free_s == pytest.approx(110.0, abs=0.02)


def test_an_outage_amid_the_recovery_begins_it_again() -> None:
    pace = Pace()
    for tenth in range(200):
        pace.free(2, tenth / 10)
    assert pace.standing("slow", 100.0) == "slow"
    pace.spend(pace.allowed(100.0))
    assert pace.standing("free", 100.1) == "slow"
    assert pace.standing("shut", 100.2) == "shut"
    assert pace.standing("single", 130.0) == "single"
    assert pace.standing("slow", 131.0) == "slow"
    pace.allowed(131.0)
    assert pace.allowed(132.0) == 9, "a quarter of a second of 36, however long ago the last was"


def test_who_never_took_anything_begins_slowly_and_a_clock_that_jumps_back_is_survived() -> None:
    pace = Pace()
    assert pace.allowed(50.0) == 1
    pace.spend(1)
    assert pace.allowed(10.0) == 1
    assert pace.allowed(10_000.0) == 2, "a quarter of a second of 9 a second"


# ---- failures


def test_the_same_failure_again_and_again_is_told_once() -> None:
    window = FailureWindow(FailureLimits(same_max=3))
    said = [window.failed("exception", f"KeyError: 'id-{n}'", 10.0 + n) for n in range(5)]

    assert said[:2] == ["", ""]
    assert said[2] == "3 times within 60 s: exception: KeyError: *"
    assert said[3:] == ["", ""]


def test_failures_out_of_the_window_or_among_many_successes_pause_nobody() -> None:
    slow = FailureWindow(FailureLimits(same_max=3, row_max=1000))
    assert [slow.failed("exception", "x", 40.0 * n) for n in range(20)] == [""] * 20
    healthy = FailureWindow(FailureLimits(same_max=3))
    for number in range(30):
        for _ in range(9):
            healthy.well()
        assert healthy.failed("exception", "x", number / 10) == ""


def test_a_storm_of_different_failures_and_a_long_row_are_told_too() -> None:
    storm = FailureWindow(FailureLimits(failures_min=10))
    said = [storm.failed("exception", "x" * n, n / 10) for n in range(1, 11)]
    assert said[-1] == "10 of 10 attempts failed within 60 s"

    row = FailureWindow(FailureLimits(row_max=10))
    said = [row.failed("exception", "x" * n, 100.0 * n) for n in range(1, 11)]
    assert said[-1] == "10 attempts failed in a row"


def test_who_wants_it_is_never_paused() -> None:
    window = FailureWindow(FailureLimits(same_max=0))
    assert {window.failed("exception", "x", 0.0) for _ in range(200)} == {""}


def test_a_pattern_leaves_out_what_differs() -> None:
    one, other = ("no order 17 at 0x7f3a of 'ann'\nmore", "no order 4 at 0x11 of 'bob'")
    assert pattern_of("permanent", one) == pattern_of("permanent", other)
    assert pattern_of("permanent", one) != pattern_of("exception", one)


def test_an_agent_version_that_keeps_failing_asks_to_be_paused() -> None:
    async def breaks(ticket: Ticket) -> Answer:
        raise ValueError("oops")

    bench = Workbench(breaks, {"version": "7"})
    line = Line()
    bench.dependencies.fleet = FleetView("w-1", Topics("cw"), line, bench.clock)
    bench.run(*(a_message(a_task("breaks"), offset=n) for n in range(30)))

    [record] = line.records
    order = PauseOrder.from_json(record.value or b"")
    assert (order.agent, order.agent_version, order.paused) == ("breaks", "7", True)
    assert order.why == "20 times within 60 s: exception: ValueError: oops"
