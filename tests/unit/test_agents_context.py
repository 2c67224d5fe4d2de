"""What an agent may ask of the world: progress, dependencies, limits, its own identity."""

from __future__ import annotations

from typing import Any

import pytest

from agents.context import Context
from agents.services import WorkLimits
from events.errors import DeclarationError, HaltedError, RetriableError
from schemas.base import instant
from schemas.outcome import Progress
from schemas.usage import Budget
from tests.unit.workbench import START, Answer, Ticket, Workbench, a_message, a_task


async def answer(ticket: Ticket, ctx: Context) -> Answer:
    raise NotImplementedError


@pytest.fixture
def bench() -> Workbench:
    return Workbench(answer, {"calls": ("crm",), "iterations_max": 3})


def context_of(bench: Workbench, **fields: Any) -> Context:
    return bench.desk.open(a_message(a_task(**fields)), bench.loop.time).context


def test_it_says_whose_attempt_this_is(bench: Workbench) -> None:
    ctx = context_of(bench, attempt=2, event={"tenant": "acme"})

    assert ctx.task_id == f"{ctx.case_id}:answer"
    assert (ctx.agent, ctx.attempt, ctx.tenant) == ("answer", 2, "acme")
    assert ctx.deadline == instant(START + 3600)


def test_time_left_is_the_run_s_or_until_the_deadline_if_that_is_sooner(bench: Workbench) -> None:
    assert context_of(bench, timeout_s=10).time_left_s == 10
    assert context_of(bench, timeout_s=10, deadline=instant(START + 4)).time_left_s == 4


def test_progress_goes_to_the_case_s_own_partition_with_what_travels(bench: Workbench) -> None:
    ctx = context_of(bench)

    bench.loop.run_until_complete(ctx.progress("reading", 0.25))

    [record] = bench.producer.records
    assert (record.topic, record.partition) == ("cw.inbox", 3)
    assert record.key == ctx.case_id.encode()
    headers = dict(record.headers)
    assert headers["ce_type"] == b"caseworks.progress"
    assert headers["ce_subject"] == b"t-1"
    assert headers["traceparent"].startswith(b"00-0123")
    progress = Progress.from_json(record.value or b"")
    assert (progress.task_id, progress.message, progress.fraction) == (ctx.task_id, "reading", 0.25)


def test_progress_is_bounded_and_every_report_has_its_own_id() -> None:
    bench = Workbench(answer, work=WorkLimits(progress_max=3))
    ctx = context_of(bench)
    for _ in range(9):
        bench.loop.run_until_complete(ctx.progress("again"))

    ids = [dict(record.headers)["ce_id"] for record in bench.producer.records]
    assert len(ids) == len(set(ids)) == 3


def test_progress_that_cannot_be_queued_does_not_fail_the_attempt(bench: Workbench) -> None:
    bench.producer.refusal = RetriableError("queue full")
    bench.loop.run_until_complete(context_of(bench).progress("x"))
    assert bench.producer.records == []


def test_only_declared_dependencies_can_be_called(bench: Workbench) -> None:
    ctx = context_of(bench)
    ctx.call("crm")
    with pytest.raises(DeclarationError, match=r"calls 'erp', which it did not declare"):
        ctx.call("erp")


def test_iterations_are_limited_by_the_agent_and_by_the_task_s_budget(bench: Workbench) -> None:
    ctx = context_of(bench)
    assert [ctx.iteration() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(HaltedError):
        ctx.iteration()

    tighter = context_of(bench, budget=Budget(iterations=1))
    tighter.iteration()
    with pytest.raises(HaltedError, match="1 iterations made"):
        tighter.iteration()


def test_its_log_lines_carry_case_trace_and_agent(bench: Workbench) -> None:
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    ctx = context_of(bench, event={"traceparent": trace})
    bound = ctx.log._context

    assert bound["case_id"] == ctx.case_id
    assert bound["trace_id"] == "0123456789abcdef0123456789abcdef"
    assert bound["agent"] == "answer"
