"""Tasks in, records out: every kind of agent that misbehaves."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from agents.context import Context
from agents.limits.dependencies import DependencyLimits
from agents.outcomes import Escalate, Failed
from agents.services import WorkLimits
from events.errors import HaltedError, PermanentError, TransientError
from schemas.base import instant
from schemas.outcome import Delivery, Failure
from schemas.usage import Usage
from tests.unit.workbench import START, Answer, Ticket, Workbench, a_message, a_task


async def answer(ticket: Ticket) -> Answer:
    await asyncio.sleep(1.5)
    return Answer(text=ticket.ticket_id, confidence=0.75)


def test_a_task_becomes_its_outcome() -> None:
    bench = Workbench(answer, {"version": "v7"})
    message = a_message(a_task(attempt=2), offset=41, partition=5)

    [outcome] = bench.run(message, seconds=2)

    assert outcome.status == "done"
    assert outcome.output == {"text": "t-1", "confidence": 0.75}
    assert outcome.confidence == 0.75
    assert outcome.task_id == f"{outcome.case_id}:answer"
    assert (outcome.agent, outcome.attempt, outcome.agent_version) == ("answer", 2, "v7")
    assert outcome.worker == "w-1"
    assert (outcome.started_at, outcome.finished_at) == (instant(START), instant(START + 1.5))
    assert outcome.delivery == Delivery(
        topic="cw.tasks.answer", partition=5, offset=41, timestamp=instant(START)
    )
    assert outcome.usage == Usage()
    assert outcome.task is None


def test_an_outcome_goes_to_the_partition_that_asked_with_what_travels() -> None:
    bench = Workbench(answer)
    [outcome] = bench.run(a_message(a_task()), seconds=2)

    [record] = bench.producer.records
    headers = dict(record.headers)
    assert (record.topic, record.partition) == ("cw.inbox", 3)
    assert record.key == outcome.case_id.encode()
    assert headers["ce_type"] == b"caseworks.outcome"
    assert headers["ce_source"] == b"caseworks/cw/w-1"
    assert headers["ce_subject"] == b"t-1"
    assert headers["traceparent"].startswith(b"00-0123456789abcdef")
    assert headers["ce_id"].startswith(f"{outcome.task_id}:1:".encode())


def test_two_runs_of_one_task_have_two_ids() -> None:
    bench = Workbench(answer)
    bench.run(a_message(a_task(), offset=1), seconds=2)
    bench.run(a_message(a_task(), offset=1), seconds=2)

    one, two = (dict(record.headers)["ce_id"] for record in bench.producer.records)
    assert one != two


# ---- agents that misbehave


def outcome_of(function: Any, seconds: float = 0.0, **limits: Any) -> tuple[str, Failure | None]:
    bench = Workbench(function, limits)
    outcome = bench.run_task(seconds)
    return outcome.status, outcome.error


def test_an_agent_that_raises_has_failed() -> None:
    async def buggy(ticket: Ticket) -> Answer:
        raise KeyError("card")

    assert outcome_of(buggy) == ("failed", Failure(kind="exception", message="KeyError: 'card'"))


def test_an_agent_that_says_no_has_failed_and_one_that_escalates_has_not() -> None:
    async def refuses(ticket: Ticket) -> Answer:
        raise PermanentError("no such card")

    async def escalates(ticket: Ticket) -> Answer | Escalate:
        return Escalate("ask a lawyer")

    assert outcome_of(refuses)[1] == Failure(kind="permanent", message="no such card")
    assert outcome_of(escalates) == (
        "escalate",
        Failure(kind="escalated", message="ask a lawyer"),
    )


def test_a_transient_error_that_lasts_comes_back_as_retry_with_what_was_asked_for() -> None:
    async def busy(ticket: Ticket) -> Answer:
        raise TransientError("429", retry_after_s=120.0)

    status, error = outcome_of(busy)

    assert status == "retry"
    assert error == Failure(kind="transient", message="429", retry_after_s=120.0)


def test_an_agent_that_never_returns_is_stopped_by_its_time() -> None:
    async def hangs(ticket: Ticket) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    bench = Workbench(hangs)
    message = a_message(a_task("hangs", timeout_s=4))
    assert bench.run(message, seconds=3.9) == []

    bench.advance(0.1)

    [outcome] = bench.outcomes()
    assert (outcome.status, outcome.error) == (
        "retry",
        Failure(kind="timeout", message="not done in 4 s"),
    )


def test_an_agent_that_swallows_cancellation_is_given_up_and_answered_for() -> None:
    swallowed = []

    async def stubborn(ticket: Ticket) -> Answer:
        for _ in range(20):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed.append(1)
        raise AssertionError

    bench = Workbench(stubborn, work=WorkLimits(grace_s=2.0))
    assert bench.run(a_message(a_task("stubborn", timeout_s=4)), seconds=5.9) == []

    bench.advance(1)
    bench.producer.poll()

    [outcome] = bench.outcomes()
    assert swallowed
    assert outcome.status == "retry"
    assert outcome.error == Failure(
        kind="timeout", message="not done in 4 s, and it ignores cancellation"
    )
    assert bench.crew.abandoned == 1
    assert len(bench.crew.take_settled()) == 1


def test_what_a_given_up_agent_returns_later_is_not_sent() -> None:
    async def late(ticket: Ticket) -> Answer:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        return Answer(text="late")

    bench = Workbench(late)
    bench.run(a_message(a_task("late", timeout_s=4)), seconds=100)

    assert [outcome.status for outcome in bench.outcomes()] == ["retry"]
    assert bench.crew.abandoned == 0


@pytest.mark.parametrize("result", ["text", None, 3, {"wrong": 1}, [Answer(text="x")]])
def test_an_agent_that_returns_the_wrong_type_has_failed(result: object) -> None:
    async def wrong(ticket: Ticket) -> Answer:
        return result  # type: ignore[return-value]

    status, error = outcome_of(wrong)

    assert (status, error and error.kind) == ("failed", "invalid_output")


def test_output_that_is_too_large_fails_the_step() -> None:
    async def long(ticket: Ticket) -> Answer:
        return Answer(text="x" * 300_000)

    status, error = outcome_of(long)

    assert (status, error and error.kind) == ("failed", "output_too_large")


@pytest.mark.parametrize("confidence", [math.nan, math.inf, -0.1, 1.5])
def test_a_confidence_that_is_none_fails_the_step(confidence: float) -> None:
    async def unsure(ticket: Ticket) -> Answer:
        return Answer(text="x", confidence=confidence)

    status, error = outcome_of(unsure)

    assert (status, error and error.kind) == ("failed", "invalid_output")


def test_output_that_json_cannot_hold_fails_the_step() -> None:
    async def odd(ticket: Ticket) -> dict[str, Any]:
        return {"lock": object()}

    status, error = outcome_of(odd)

    assert (status, error and error.kind) == ("failed", "invalid_output")


def test_an_agent_that_exits_or_cancels_itself_takes_nobody_with_it() -> None:
    async def exits(ticket: Ticket) -> Answer:
        raise SystemExit(3)

    async def cancels(ticket: Ticket) -> Answer:
        raise asyncio.CancelledError

    assert outcome_of(exits) == ("failed", Failure(kind="exception", message="SystemExit: 3"))
    assert outcome_of(cancels)[0] == "failed"


def test_a_halted_agent_tells_what_it_did() -> None:
    async def loops(ticket: Ticket, ctx: Context) -> Answer:
        while True:
            ctx.iteration("search")

    bench = Workbench(loops, {"iterations_max": 2})
    outcome = bench.run_task()

    assert outcome.status == "halted"
    assert outcome.error == Failure(kind="iterations", message="2 iterations made")
    assert outcome.trace == ("iteration 1: search", "iteration 2: search")
    assert outcome.usage == Usage(iterations=2)


def test_an_open_dependency_defers_the_task() -> None:
    async def asks(ticket: Ticket, ctx: Context) -> Answer:
        async with ctx.call("crm"):
            raise ConnectionError("refused")

    bench = Workbench(asks, {"calls": ("crm",), "tries_max": 1})
    bench.dependencies.limits = {"crm": DependencyLimits(failures_max=1, open_s=30)}
    first, second = bench.run(
        a_message(a_task("asks"), offset=1), a_message(a_task("asks"), offset=2)
    )

    assert (first.status, first.error and first.error.kind) == ("deferred", "dependency_open")
    assert second.status == "deferred"
    assert second.error is not None
    assert second.error.retry_after_s is not None
    assert 30.0 <= second.error.retry_after_s <= 60.0


def test_failures_carry_the_bytes_of_the_task_and_success_does_not() -> None:
    async def buggy(ticket: Ticket) -> Answer:
        raise ValueError

    message = a_message(a_task("buggy"))
    [outcome] = Workbench(buggy).run(message)

    assert outcome.task == message.value


def test_a_task_too_large_for_its_outcome_is_left_out_of_it() -> None:
    async def buggy(ticket: Ticket) -> Answer:
        raise ValueError

    bench = Workbench(buggy, work=WorkLimits(outcome_bytes_max=900))
    [outcome] = bench.run(a_message(a_task("buggy", data={"ticket_id": "x" * 900})))

    assert (outcome.status, outcome.task) == ("failed", None)


def test_what_an_agent_says_is_made_fit_for_the_wire() -> None:
    async def rude(ticket: Ticket) -> Answer:
        raise PermanentError("\ud800" + "x" * 5000)

    async def explicit(ticket: Ticket) -> Answer | Failed:
        return Failed("k" * 500, "\udfff")

    _, error = outcome_of(rude)
    assert error is not None
    assert error.message.startswith("?xxx")
    assert len(error.message) == 2000
    assert outcome_of(explicit)[1] == Failure(kind="k" * 64, message="?")


@pytest.mark.parametrize("wait_s", [math.nan, math.inf, -1.0, "soon"])
def test_a_wait_that_is_none_is_left_to_the_coordinator(wait_s: Any) -> None:
    async def busy(ticket: Ticket) -> Answer:
        raise TransientError("busy", retry_after_s=wait_s)

    status, error = outcome_of(busy, tries_max=1)

    assert (status, error) == ("retry", Failure(kind="transient", message="busy"))


def test_attempts_are_counted_and_timed() -> None:
    bench = Workbench(answer)
    bench.run(a_message(a_task()), seconds=2)

    tell = bench.telemetry
    assert tell.value("caseworks_tasks_total", agent="answer", status="done") == 1
    assert tell.value("caseworks_task_seconds_sum", agent="answer") == 1.5


def test_halted_error_of_the_agent_s_own_keeps_its_trace() -> None:
    async def stops(ticket: Ticket) -> Answer:
        raise HaltedError("same call again", trace=("search(x)", "search(x)"))

    assert Workbench(stops).run_task().trace == ("search(x)", "search(x)")
