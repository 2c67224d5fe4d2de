"""`ctx.effect`: at most one call of which nobody knows, whoever dies and whenever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.effects.answers import DidNotHappen, Finding, Happened, Unclear
from agents.effects.effects import RESULT_BYTES_MAX, Effects
from events.errors import (
    DeclarationError,
    DependencyOpenError,
    EffectBusyError,
    EffectUnknownError,
    NotDoneError,
    PermanentError,
    TransientError,
)
from tests.unit.effects_world import Calls, Office, once, run


def saying(finding: Finding) -> Any:
    async def reconcile() -> Finding:
        return finding

    return reconcile


async def begun(office: Office, worker: Effects) -> None:
    """A claim whose process died before its call, or behind it."""
    verdict = await worker._claimed(office.wanted())
    assert verdict.won


def test_a_call_is_made_once_and_its_result_kept() -> None:
    office, calls = Office(), Calls()
    worker = office.worker()

    async def twice() -> list[Any]:
        results = [await once(worker, office.wanted(), calls) for _ in range(2)]
        return [*results, await once(office.worker("w-1"), office.wanted(), calls)]

    assert run(twice) == [{"receipt": 1}] * 3
    assert calls.made == ["c-1:refund/pay"]
    assert office.states == ["pending", "done"]
    counted = office.telemetry.value("caseworks_effects_total", agent="refund", state="found")
    assert counted == 2


def test_of_two_that_claim_at_once_one_calls() -> None:
    office, calls = Office(), Calls()
    workers = [office.worker("w-0"), office.worker("w-1")]

    async def both() -> list[Any]:
        work = (once(each, office.wanted(), calls) for each in workers)
        return await asyncio.gather(*work, return_exceptions=True)

    results = run(both)

    assert len(calls.made) == 1
    assert {"receipt": 1} in results
    [other] = [each for each in results if each != {"receipt": 1}] or [EffectBusyError()]
    assert isinstance(other, EffectBusyError)


@pytest.mark.parametrize(
    "error", [PermanentError("no"), NotDoneError("busy"), DependencyOpenError()]
)
def test_what_did_not_happen_for_certain_may_be_tried_again(error: Exception) -> None:
    office, calls = Office(), Calls(error)
    worker = office.worker()

    async def again() -> Any:
        with pytest.raises(type(error)):
            await once(worker, office.wanted(), calls)
        return await once(worker, office.wanted(), calls)

    assert run(again) == {"receipt": 2}
    assert office.states == ["pending", "failed", "pending", "done"]


def test_after_any_other_error_a_person_must_find_out() -> None:
    office, calls = Office(), Calls(TransientError("the answer was lost"))
    worker = office.worker()

    async def again() -> None:
        with pytest.raises(TransientError, match="the answer was lost"):
            await once(worker, office.wanted(), calls)
        with pytest.raises(EffectUnknownError, match="caseworks effect resolve 'c-1:refund/pay'"):
            await once(worker, office.wanted(), calls)

    run(again)
    assert len(calls.made) == 1
    assert office.states == ["pending", "unknown"]
    assert office.records[-1].error == "TransientError: the answer was lost"


@pytest.mark.parametrize(
    ("finding", "result", "made"),
    [(Happened({"receipt": 7}), {"receipt": 7}, 0), (DidNotHappen(), {"receipt": 1}, 1)],
)
def test_a_dead_claim_is_reconciled(finding: Finding, result: object, made: int) -> None:
    office, calls = Office(), Calls()

    async def dies_and_comes_back() -> Any:
        await begun(office, office.worker())
        return await once(office.worker(), office.wanted(), calls, saying(finding))

    assert run(dies_and_comes_back) == result
    assert len(calls.made) == made
    assert office.records[1].by == "reconcile"
    assert office.records[1].claim == 0


def test_what_nobody_can_tell_is_not_called() -> None:
    office, calls = Office(), Calls()

    async def dies_and_comes_back() -> None:
        await begun(office, office.worker())
        with pytest.raises(EffectUnknownError, match="the bank is on holiday"):
            await once(
                office.worker(), office.wanted(), calls, saying(Unclear("the bank is on holiday"))
            )

    run(dies_and_comes_back)
    assert calls.made == []


def test_nobody_is_asked_while_another_process_may_be_at_it() -> None:
    office, calls = Office(), Calls()

    async def comes_too_early() -> Any:
        await begun(office, office.worker("w-0"))
        other = office.worker("w-1")
        with pytest.raises(EffectBusyError) as early:
            await once(other, office.wanted(), calls, saying(DidNotHappen()))
        assert 10.0 <= (early.value.retry_after_s or 0) <= 11.0
        office.now += 11.5
        return await once(other, office.wanted(), calls, saying(DidNotHappen()))

    assert run(comes_too_early) == {"receipt": 1}


def test_a_cancelled_call_is_one_of_which_nobody_knows() -> None:
    office = Office()
    worker = office.worker()

    async def cancelled() -> None:
        begins = asyncio.Event()

        async def hangs() -> None:
            begins.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(once(worker, office.wanted(), hangs))
        await begins.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*worker.tail._tasks)

    run(cancelled)
    assert office.states == ["pending", "unknown"]


def test_a_claim_that_is_cancelled_before_its_call_is_given_back() -> None:
    office, calls = Office(), Calls()
    worker = office.worker()

    async def cancelled() -> None:
        wanted = office.wanted()
        await worker.tail.standing(0, wanted.effect_id)
        task = asyncio.ensure_future(once(worker, wanted, calls))
        await asyncio.sleep(0)  # one step: its claim is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while worker.tail._tasks:
            await asyncio.gather(*worker.tail._tasks)

    run(cancelled)
    assert calls.made == []
    assert office.states == ["pending", "failed"]


def test_a_claim_without_time_for_its_call_is_given_back() -> None:
    office, calls = Office(), Calls()

    async def late() -> None:
        with pytest.raises(TransientError, match="out of time before its call"):
            await once(office.worker(), office.wanted(left_s=0.0), calls)

    run(late)
    assert calls.made == []
    assert office.states == ["pending", "failed"]


@pytest.mark.parametrize("value", ["x" * (RESULT_BYTES_MAX + 1), object()])
def test_a_result_that_cannot_be_kept_is_no_second_call(value: object) -> None:
    office, made = Office(), []
    worker = office.worker()

    async def call() -> object:
        made.append(1)
        return value

    async def twice() -> None:
        for _ in range(2):
            with pytest.raises(PermanentError, match="it happened; its result"):
                await once(worker, office.wanted(), call)

    run(twice)
    assert len(made) == 1


def test_effects_older_than_the_memory_are_looked_up_in_the_log() -> None:
    office, calls = Office(known_max=2), Calls()
    worker = office.worker()

    async def many() -> Any:
        for number in range(6):
            wanted = office.wanted(effect_id=f"c-{number}:refund/pay")
            await once(worker, wanted, calls)
        return await once(worker, office.wanted(effect_id="c-0:refund/pay"), calls)

    assert run(many) == {"receipt": 1}
    assert len(calls.made) == 6


def test_a_call_that_wants_no_id_gets_none() -> None:
    office = Office()

    async def plain() -> Any:
        return await once(office.worker(), office.wanted(), lambda: "sent")

    assert run(plain) == "sent"


def test_a_key_must_be_fit_for_a_header() -> None:
    from tests.unit.test_agents_context import answer, context_of
    from tests.unit.workbench import Workbench

    bench = Workbench(answer)
    ctx = context_of(bench)
    for key in ("", "two words", "é", "k" * 101):
        with pytest.raises(DeclarationError, match="printable ASCII"):
            bench.loop.run_until_complete(ctx.effect(key, lambda: 1))
    with pytest.raises(DeclarationError, match="no ledger"):
        bench.loop.run_until_complete(ctx.effect("pay", lambda: 1))
