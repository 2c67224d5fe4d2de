"""Breaker, bulkhead, budget and iterations, on a clock that moves when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.limits.breaker import Breaker
from agents.limits.budget import BudgetSpentError, Estimate, Meter, tightest
from agents.limits.dependencies import Dependencies, DependencyLimits
from agents.limits.iterations import TRACE_MAX, Iterations, IterationsSpentError, Trace
from events.errors import DependencyOpenError, HaltedError, PermanentError, TransientError
from events.metrics import Prometheus
from events.virtual_loop import VirtualLoop
from schemas.usage import NO_LIMIT, Budget, Usage
from tests.unit.workbench import ManualClock

DOWN = TransientError("down")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit(), DOWN)


def state_of(breaker: Breaker) -> str:
    return breaker.state


# ---- breaker


def test_failures_in_a_row_open_it_and_say_for_how_long(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=3, open_s=30)
    fail(breaker, 2)
    breaker.succeeded(breaker.admit())
    fail(breaker, 2)
    assert state_of(breaker) == "closed"
    fail(breaker)
    clock.now = 10.0

    with pytest.raises(DependencyOpenError, match="breaker of 'crm' is open") as refused:
        breaker.admit()
    assert refused.value.retry_after_s == 20.0


def test_one_probe_at_half_open_while_the_others_wait(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=1, open_s=30)
    fail(breaker)
    clock.now = 30.0
    probe = breaker.admit()

    assert state_of(breaker) == "half-open"
    with pytest.raises(DependencyOpenError, match="half-open"):
        breaker.admit()

    breaker.succeeded(probe)
    assert state_of(breaker) == "closed"
    breaker.admit()


def test_a_failed_probe_opens_it_for_the_full_time_again(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=5, open_s=30)
    fail(breaker, 5)
    clock.now = 31.0
    breaker.failed(breaker.admit(), DOWN)

    clock.now = 60.9
    with pytest.raises(DependencyOpenError):
        breaker.admit()
    clock.now = 61.0
    breaker.admit()


def test_a_cancelled_probe_says_nothing_and_lets_the_next_one_through(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=1, open_s=30)
    fail(breaker)
    clock.now = 30.0
    breaker.cancelled(breaker.admit())

    assert state_of(breaker) == "open"
    breaker.admit()
    assert state_of(breaker) == "half-open"


def test_cancelled_calls_are_no_failures(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=2)
    fail(breaker)
    for _ in range(9):
        breaker.cancelled(breaker.admit())
    assert state_of(breaker) == "closed"
    fail(breaker)
    assert state_of(breaker) == "open"


def test_an_answer_that_says_no_is_no_failure(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=1)
    breaker.failed(breaker.admit(), PermanentError("404"))
    assert state_of(breaker) == "closed"


def test_late_answers_of_calls_from_before_do_not_move_it(clock: ManualClock) -> None:
    breaker = Breaker("crm", clock, failures_max=1, open_s=30)
    early, slow = breaker.admit(), breaker.admit()
    fail(breaker)
    breaker.succeeded(early)
    assert state_of(breaker) == "open"
    clock.now = 30.0
    probe = breaker.admit()
    breaker.failed(slow, DOWN)
    assert state_of(breaker) == "half-open"
    breaker.succeeded(probe)
    assert state_of(breaker) == "closed"


def test_its_state_is_a_gauge(clock: ManualClock) -> None:
    telemetry = Prometheus()
    breaker = Breaker("crm", clock, failures_max=1, open_s=30, telemetry=telemetry)

    def gauge() -> float | None:
        return telemetry.value("caseworks_breaker_state", dependency="crm")

    assert gauge() == 0
    fail(breaker)
    assert gauge() == 2
    clock.now = 30.0
    probe = breaker.admit()
    assert gauge() == 1
    breaker.succeeded(probe)
    assert gauge() == 0


# ---- dependencies: both guards around a call


class Desk:
    """Dependencies on a virtual loop."""

    def __init__(self, clock: ManualClock, limits: DependencyLimits) -> None:
        self.clock = clock
        self.loop = VirtualLoop(clock)
        self.dependencies = Dependencies(clock, {"crm": limits})

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        async def guarded() -> None:
            async with self.dependencies.call("crm", lambda: self.clock.now >= 100):
                await work()

        task: asyncio.Task[None] = self.loop.create_task(guarded())
        self.loop.run_ready()
        return task

    def advance(self, seconds: float) -> None:
        self.loop.run_ready()
        until = self.clock.now + seconds
        while (due := self.loop.next_timer()) is not None and due <= until:
            self.clock.now = due
            self.loop.run_ready()
        self.clock.now = until


async def hang() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


def error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception()


def test_a_full_bulkhead_refuses_after_a_short_wait(clock: ManualClock) -> None:
    desk = Desk(clock, DependencyLimits(calls_max=2, wait_s_max=0.5))
    inside = [desk.start(hang) for _ in range(2)]
    outside = desk.start(nothing)
    assert not outside.done()

    desk.advance(0.5)

    assert isinstance(error_of(outside), DependencyOpenError)
    assert "no place came free in 0.5 s" in str(error_of(outside))
    assert not any(task.done() for task in inside)


def test_a_place_that_comes_free_in_time_is_taken(clock: ManualClock) -> None:
    desk = Desk(clock, DependencyLimits(calls_max=1, wait_s_max=0.5))
    inside, outside = desk.start(hang), desk.start(nothing)
    inside.cancel()
    desk.advance(0.1)

    assert outside.done()
    assert error_of(outside) is None


def test_an_open_breaker_refuses_before_anything_waits(clock: ManualClock) -> None:
    desk = Desk(clock, DependencyLimits(failures_max=1, calls_max=1))
    desk.start(hang)
    fail(desk.dependencies.breaker("crm"))

    refused = error_of(desk.start(nothing))

    assert isinstance(refused, DependencyOpenError)
    assert "breaker" in str(refused)


def test_a_dependency_that_hangs_until_the_run_is_over_has_failed(clock: ManualClock) -> None:
    desk = Desk(clock, DependencyLimits(failures_max=1))
    task = desk.start(hang)
    clock.now = 100.0
    task.cancel()
    desk.advance(0)

    assert desk.dependencies.breaker("crm").state == "open"


def test_a_run_that_is_cancelled_in_time_says_nothing_of_the_dependency(clock: ManualClock) -> None:
    desk = Desk(clock, DependencyLimits(failures_max=1))
    task = desk.start(hang)
    task.cancel()
    desk.advance(0)

    assert desk.dependencies.breaker("crm").state == "closed"


@pytest.mark.parametrize("error", [HaltedError("stop"), DependencyOpenError("another")])
def test_what_the_worker_s_own_limits_raise_says_nothing_of_the_dependency(
    clock: ManualClock, error: Exception
) -> None:
    desk = Desk(clock, DependencyLimits(failures_max=1))

    async def stopped() -> None:
        raise error

    assert error_of(desk.start(stopped)) is error
    assert desk.dependencies.breaker("crm").state == "closed"


# ---- budget


COSTS = st.integers(0, 40)
CALLS = st.lists(st.tuples(COSTS, COSTS, st.booleans()), max_size=20)


@given(CALLS, st.integers(0, 100), st.integers(0, 100))
def test_i6_spent_and_reserved_never_exceed_the_budget(
    calls: list[tuple[int, int, bool]], limit: int, usd_max: int
) -> None:
    meter = Meter(Budget(tokens=limit, usd=Decimal(usd_max), calls=10))
    open_calls: list[tuple[Estimate, int]] = []
    for worst, share, settle_one in calls:
        estimate = Estimate(tokens=worst, usd=Decimal(worst))
        try:
            meter.reserve(estimate)
        except BudgetSpentError:
            pass
        else:
            open_calls.append((estimate, min(share, worst)))
        if settle_one and open_calls:
            done, cost = open_calls.pop(0)
            meter.settle(done, Usage(tokens_in=cost, usd=Decimal(cost), calls=1))

        reserved = sum(estimate.tokens for estimate, _ in open_calls)
        assert meter.spent.tokens_in + reserved <= limit
        assert meter.spent.usd + reserved <= usd_max
        assert meter.spent.calls + len(open_calls) <= 10
        assert meter.tokens_left() == limit - meter.spent.tokens_in - reserved


def test_an_unknown_price_counts_as_over_budget_and_only_then() -> None:
    unknown = Estimate(tokens=1, usd=None)
    with pytest.raises(BudgetSpentError, match="the price is unknown"):
        Meter(Budget(usd=Decimal(100))).reserve(unknown)
    Meter(NO_LIMIT).reserve(unknown)


def test_the_tighter_limit_of_each_kind_holds() -> None:
    one = Budget(tokens=10, usd=Decimal(1))
    other = Budget(tokens=5, calls=3)
    assert tightest(one, other) == Budget(tokens=5, usd=Decimal(1), calls=3)


# ---- iterations


def test_iterations_end_at_their_limit_and_tell_what_was_done() -> None:
    iterations = Iterations(2, Trace())
    assert iterations.next("search") == 1
    assert iterations.next() == 2
    with pytest.raises(IterationsSpentError, match="2 iterations made") as halted:
        iterations.next()
    assert halted.value.trace == ("iteration 1: search", "iteration 2")
    assert iterations.made == 2


def test_the_trace_keeps_the_last_things_and_cuts_them() -> None:
    trace = Trace()
    for number in range(TRACE_MAX + 5):
        trace.add(f"{number} " + "x" * 999)
    assert len(trace.lines()) == TRACE_MAX
    assert trace.lines()[-1].startswith("24 ")
    assert len(trace.lines()[0]) == 200
