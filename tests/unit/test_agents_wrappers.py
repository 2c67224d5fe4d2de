"""Each wrapper of the stack by itself, around a handler that does as it is told."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agents.call import Call, Handler
from agents.limits.budget import Estimate
from agents.outcomes import (
    Deferred,
    Done,
    Escalate,
    Failed,
    Halted,
    Retry,
    Verdict,
    is_transient,
    verdict_of,
)
from agents.stack import STACK, handler_of, invoke
from agents.wrappers.checked_input import checked_input
from agents.wrappers.metered import metered
from agents.wrappers.retried import retried, wait_after
from agents.wrappers.translated import translated
from agents.wrappers.within_time import within_time
from events.errors import DependencyOpenError, HaltedError, PermanentError, TransientError
from schemas.usage import Usage
from tests.unit.workbench import Answer, Ticket, Workbench, a_message, a_task


async def answer(ticket: Ticket) -> Answer:
    return Answer(text=ticket.ticket_id)


class Bench(Workbench):
    def call(self, **fields: Any) -> Call:
        return self.desk.open(a_message(a_task(**fields)), self.loop.time)

    def handle(self, handler: Handler, call: Call, seconds: float = 0.0) -> Verdict:
        async def run() -> Verdict:
            return await handler(call)

        task = self.loop.create_task(run())
        self.advance(seconds)
        return task.result()


@pytest.fixture
def bench() -> Bench:
    return Bench(answer)


def giving(*results: Verdict | BaseException) -> Handler:
    """A handler that gives or raises these, one a time."""
    left = list(results)

    async def handle(_: Call) -> Verdict:
        result = left.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    return handle


def waiting(seconds: float) -> Handler:
    async def handle(_: Call) -> Verdict:
        await asyncio.sleep(seconds)
        return Done(None)

    return handle


# ---- invoke


def test_an_explicit_outcome_is_taken_as_it_is(bench: Bench) -> None:
    async def careful(ticket: Ticket) -> Answer | Escalate:
        return Escalate("ask a lawyer")

    careful_bench = Bench(careful)
    call = careful_bench.call(agent="careful")

    verdict = careful_bench.handle(handler_of((checked_input,)), call)

    assert verdict == Escalate("ask a lawyer")


def test_a_plain_function_is_called_through_the_threads() -> None:
    def plain(ticket: Ticket) -> Answer:
        return Answer(text="from a thread")

    bench = Bench(plain)
    call = bench.call(agent="plain")

    assert bench.handle(checked_input(invoke), call) == Done(Answer(text="from a thread"))


# ---- checked_input


def test_data_and_results_become_the_function_s_types() -> None:
    seen: list[Any] = []

    async def both(ticket: Ticket, triage: Answer, account: Answer | None) -> Answer:
        seen.extend((ticket, triage, account))
        return triage

    bench = Bench(both)
    call = bench.call(agent="both", results={"triage": {"text": "x"}, "account": None})

    bench.handle(checked_input(invoke), call)

    assert seen == [Ticket(ticket_id="t-1", body="where is my card"), Answer(text="x"), None]


def test_input_goes_before_the_event_s_data(bench: Bench) -> None:
    call = bench.call(input={"ticket_id": "from-input"})
    assert bench.handle(checked_input(invoke), call) == Done(Answer(text="from-input"))


def test_what_does_not_fit_the_function_fails_without_showing_values(bench: Bench) -> None:
    call = bench.call(data={"ticket_id": 5, "body": "secret"})

    verdict = bench.handle(checked_input(invoke), call)

    assert verdict == Failed("invalid_input", "Ticket: ticket_id: Input should be a valid string")


# ---- within_time


def test_run_time_is_counted_from_the_start_of_the_run(bench: Bench) -> None:
    verdict = bench.handle(within_time(waiting(60)), bench.call(timeout_s=5), seconds=5)
    assert verdict == Retry("timeout", "not done in 5 s")


def test_work_within_its_time_is_left_alone(bench: Bench) -> None:
    assert bench.handle(within_time(waiting(4.9)), bench.call(timeout_s=5), seconds=5) == Done(None)


def test_a_time_out_of_the_agent_s_own_is_not_the_run_s(bench: Bench) -> None:
    async def slow(_: Call) -> Verdict:
        await asyncio.sleep(1)
        raise TimeoutError("mine")

    for handler in (slow, giving(TimeoutError("mine"))):
        with pytest.raises(TimeoutError, match="mine"):
            bench.handle(within_time(handler), bench.call(), seconds=2)


def test_a_task_whose_deadline_has_passed_is_not_run(bench: Bench) -> None:
    call = bench.call()
    bench.clock.now += 3601

    verdict = bench.handle(within_time(giving()), call)

    assert verdict == Retry("deadline", "its deadline had passed before it started")


# ---- retried


def test_a_transient_error_is_tried_again_within_the_attempt(bench: Bench) -> None:
    handler = retried(giving(ConnectionError(), TransientError("busy"), Done(1)))
    assert bench.handle(handler, bench.call(), seconds=5) == Done(1)


def test_tries_are_bounded(bench: Bench) -> None:
    handler = retried(giving(*(TransientError(str(n)) for n in range(9))))
    with pytest.raises(TransientError, match="2"):
        bench.handle(handler, bench.call(), seconds=60)


def test_the_wait_is_at_least_what_the_dependency_asks_for(bench: Bench) -> None:
    handler = retried(giving(TransientError("429", retry_after_s=3.0), Done(1)))
    call = bench.call()
    task: asyncio.Task[Verdict] = bench.loop.create_task(handler(call))

    bench.advance(2.9)
    assert not task.done()
    bench.advance(0.2)
    assert task.result() == Done(1)


def test_a_wait_that_the_attempt_has_no_time_for_is_not_begun(bench: Bench) -> None:
    handler = retried(giving(TransientError("429", retry_after_s=30.0), Done(1)))
    with pytest.raises(TransientError, match="429"):
        bench.handle(handler, bench.call(timeout_s=10))


@pytest.mark.parametrize(
    "error",
    [PermanentError("no"), ValueError("no"), DependencyOpenError("no"), FileNotFoundError("no")],
)
def test_what_another_try_does_not_mend_is_not_tried_again(bench: Bench, error: Exception) -> None:
    with pytest.raises(type(error), match="no"):
        bench.handle(retried(giving(error, Done(1))), bench.call(), seconds=60)


def test_the_same_run_waits_the_same() -> None:
    waits = [wait_after(None, "task:1", tried) for tried in range(1, 9)]

    assert waits == [wait_after(None, "task:1", tried) for tried in range(1, 9)]
    assert waits != [wait_after(None, "task:2", tried) for tried in range(1, 9)]
    assert all(0 <= wait < min(0.1 * 2**n, 10.0) for n, wait in enumerate(waits, 1))


# ---- translated


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (TransientError("busy", retry_after_s=2.0), Retry("transient", "busy", 2.0)),
        (TimeoutError(), Retry("timeout", "TimeoutError")),
        (ConnectionResetError("gone"), Retry("connection", "gone")),
        (OSError("no route"), Retry("connection", "no route")),
        (DependencyOpenError("crm is busy"), Deferred("dependency_open", "crm is busy")),
        (PermanentError("no such card"), Failed("permanent", "no such card")),
        (HaltedError("too long", trace=("a",)), Halted("halted", "too long", ("a",))),
        (ValueError("x"), Failed("exception", "ValueError: x")),
        (TypeError("y"), Failed("exception", "TypeError: y")),
        (FileNotFoundError("f"), Failed("exception", "FileNotFoundError: f")),
        (SystemExit(3), Failed("exception", "SystemExit: 3")),
        (
            asyncio.CancelledError(),
            Failed("cancelled", "it was cancelled by itself, not by the worker"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_exception_is_a_verdict(bench: Bench, error: BaseException, verdict: Verdict) -> None:
    assert bench.handle(translated(giving(error)), bench.call()) == verdict


def test_what_a_closed_dependency_defers_comes_back_spread_over_its_wait(bench: Bench) -> None:
    waits = set()
    for attempt in range(1, 50):
        handler = translated(giving(DependencyOpenError("open", retry_after_s=30.0)))
        verdict = bench.handle(handler, bench.call(attempt=attempt))
        assert isinstance(verdict, Deferred)
        assert verdict.retry_after_s is not None
        waits.add(verdict.retry_after_s)

    assert len(waits) > 40
    assert 30 <= min(waits) < 35
    assert 55 < max(waits) <= 60


def test_a_halted_agent_tells_what_it_did_last(bench: Bench) -> None:
    call = bench.call()
    call.context.iteration("look")

    verdict = bench.handle(translated(giving(HaltedError("stop"))), call)

    assert verdict == Halted("halted", "stop", ("iteration 1: look",))


def test_a_cancellation_by_the_worker_goes_through(bench: Bench) -> None:
    running = translated(waiting(5))(bench.call())
    task: asyncio.Task[Verdict] = bench.loop.create_task(running)
    bench.advance(1)
    task.cancel()
    bench.advance(0)

    assert task.cancelled()


def test_an_error_whose_message_raises_is_told_all_the_same() -> None:
    class Rude(Exception):  # noqa: N818 - it is rude
        def __str__(self) -> str:
            raise RuntimeError

    assert verdict_of(Rude()) == Failed("exception", "Rude: Rude (its message raises RuntimeError)")


def test_an_open_dependency_is_not_transient() -> None:
    assert not is_transient(DependencyOpenError("x"))
    assert is_transient(TransientError("x"))


# ---- metered


def test_what_was_spent_is_told_also_when_the_attempt_fails(bench: Bench) -> None:
    call = bench.call()
    estimate = Estimate(tokens=10)

    async def spend(call: Call) -> Verdict:
        call.context.budget.reserve(estimate)
        call.context.budget.settle(estimate, Usage(tokens_in=4, usd=Decimal("0.1"), calls=1))
        call.context.iteration()
        raise KeyError

    with pytest.raises(KeyError):
        bench.handle(metered(spend), call)

    assert call.usage == Usage(tokens_in=4, usd=Decimal("0.1"), calls=1, iterations=1)


# ---- the stack


def test_the_default_stack_is_this_one() -> None:
    names = [wrapper.__name__ for wrapper in STACK]

    assert names == [
        "metered",
        "translated",
        "spared",
        "checked_input",
        "checked_output",
        "within_time",
        "retried",
    ]
