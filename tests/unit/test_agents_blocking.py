"""An agent that blocks the event loop of its neighbours, ends it, or takes what is theirs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agents.agent import Agent
from agents.errors import WorkerStuckError
from agents.executor import ThreadedExecutor
from agents.job import Desk
from agents.stack import handler_of
from events.loop import Job
from events.progress import decode
from tests.unit.workbench import Answer, Recorder, Ticket, a_message
from tests.unit.worker_shop import WAIT_S, now_task, outcomes, quick, shop, until
from tests.unit.worker_stage import P0, Stage, message


def test_an_agent_that_blocks_the_event_loop_is_answered_for_and_ends_the_process() -> None:
    release = threading.Event()

    async def blocks(ticket: Ticket) -> Answer:
        release.wait(60)
        return Answer(text="late")

    recorder = Recorder()
    with shop(blocks, recorder) as made:
        made.start(1, timeout_s=0.1)
        [settled] = made.collect(1)
        [outcome] = outcomes(recorder)
        assert settled.offset == 0
        assert (outcome.status, outcome.error and outcome.error.kind) == ("retry", "timeout")
        assert outcome.error is not None
        assert "blocks the event loop" in outcome.error.message

        with pytest.raises(WorkerStuckError, match="blocks the event loop"):
            until(lambda: made.executor.collect(0.01))
        release.set()
    assert len(recorder.records) == 1


def test_an_agent_that_stops_the_loop_for_too_long_is_answered_for_whatever_time_it_has() -> None:
    release = threading.Event()

    async def blocks(ticket: Ticket) -> Answer:
        release.wait(60)
        return Answer(text="late")

    recorder = Recorder()
    with shop(blocks, recorder, stuck_max_s=0.6) as made:
        made.start(1, timeout_s=3600.0)
        made.collect(1)
        [outcome] = outcomes(recorder)
        assert (outcome.status, outcome.error and outcome.error.kind) == ("retry", "timeout")
        with pytest.raises(WorkerStuckError, match="agent 'blocks' blocks the event loop"):
            until(lambda: made.executor.collect(0.01))
        release.set()


def test_a_neighbour_does_not_answer_for_who_blocks_the_loop() -> None:
    entered, release = threading.Event(), threading.Event()

    async def blocks(ticket: Ticket) -> Answer:
        entered.set()
        release.wait(60)
        return Answer(text="late")

    recorder = Recorder()
    with shop(blocks, recorder, stuck_max_s=0.6) as made:
        other = Desk(Agent.from_function(quick), made.desk.services, handler_of())
        neighbour = ThreadedExecutor(other, made.host)
        made.start(1, timeout_s=3600.0)
        assert entered.wait(WAIT_S)
        found = made.host.on_loop()
        assert found is not None
        assert found.agent == "blocks"
        until(lambda: neighbour.collect(0.01) or made.host.stalls.look() > 0.8)
        made.collect(1)
        release.set()
        neighbour.close()
    assert [outcome.agent for outcome in outcomes(recorder)] == ["blocks"]


def test_a_task_left_behind_that_blocks_the_loop_ends_the_process_too() -> None:
    release = threading.Event()
    left: list[asyncio.Task[None]] = []

    async def behind() -> None:
        release.wait(60)

    async def leaves(ticket: Ticket) -> Answer:
        left.append(asyncio.create_task(behind()))
        return Answer(text="done")

    recorder = Recorder()
    with shop(leaves, recorder, stuck_max_s=0.6) as made:
        made.start(1)
        made.collect(1)
        with pytest.raises(WorkerStuckError, match="something blocks the event loop"):
            until(lambda: made.executor.collect(0.01))
        release.set()
    assert [outcome.status for outcome in outcomes(recorder)] == ["done"]


@pytest.mark.parametrize("awaited", [True, False])
def test_an_exit_in_a_task_of_an_agent_s_own_leaves_the_loop_to_the_others(awaited: bool) -> None:
    left: list[asyncio.Task[None]] = []

    async def exits() -> None:
        raise SystemExit(3)

    async def leaves(ticket: Ticket) -> Answer:
        task = asyncio.create_task(exits())
        left.append(task)
        if awaited:
            await task
        return Answer(text="done")

    recorder = Recorder()
    with shop(leaves, recorder) as made:
        made.start(1)
        made.collect(1)
        other = ThreadedExecutor(
            Desk(Agent.from_function(quick), made.desk.services, handler_of()), made.host
        )
        other.start([Job(a_message(now_task("quick")))])
        until(lambda: other.collect(0.01))
        assert isinstance(left[0].exception(), SystemExit)
        other.close()

    first, second = outcomes(recorder)
    assert (first.status, first.error and first.error.kind) == (
        ("failed", "exception") if awaited else ("done", None)
    )
    assert second.status == "done"


@pytest.mark.parametrize("plain", [True, False])
def test_an_agent_that_wants_more_memory_than_there_is_has_failed(plain: bool) -> None:
    async def hungry(ticket: Ticket) -> Answer:
        raise MemoryError

    def hungry_in_a_thread(ticket: Ticket) -> Answer:
        raise MemoryError

    recorder = Recorder()
    with shop(hungry_in_a_thread if plain else hungry, recorder) as made:
        made.start(1)
        made.collect(1)
    [outcome] = outcomes(recorder)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "memory")


@pytest.mark.slow
def test_an_agent_that_returns_fifty_megabytes_is_told_the_limit_and_no_more_travels() -> None:
    async def large(ticket: Ticket) -> Answer:
        return Answer(text="x" * 50_000_000)

    recorder = Recorder()
    with shop(large, recorder) as made:
        made.start(1)
        made.collect(1)
    [outcome] = outcomes(recorder)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "output_too_large")
    assert len(recorder.records[0].value or b"") < 10_000


@pytest.mark.parametrize("answered", [True, False])
def test_who_was_in_flight_beside_a_task_that_was_answered_for_is_not_suspected(
    answered: bool,
) -> None:
    stage = Stage()
    stage.arrive(message(3), message(4), message(5))
    stage.turn(2)
    stage.settle(4)
    stage.turn()

    def stuck(_: float) -> None:
        raise WorkerStuckError("stuck", answered=answered)

    stage.on_collect = stuck
    with pytest.raises(WorkerStuckError):
        stage.turn(3)
    mark = stage.marks[P0]
    left = decode(mark.metadata, mark.offset)

    assert [left.reach > offset for offset in (3, 5)] == [not answered] * 2


def test_control_without_a_limit_it_blocks_the_loop_as_long_as_it_likes() -> None:
    entered, release = threading.Event(), threading.Event()

    async def blocks(ticket: Ticket) -> Answer:
        entered.set()
        release.wait(60)
        return Answer(text="late")

    recorder = Recorder()
    with shop(blocks, recorder, stuck_max_s=3600.0) as made:
        made.start(1, timeout_s=3600.0)
        assert entered.wait(WAIT_S)
        until(lambda: made.executor.collect(0.01) or made.host.stalls.look() > 1.5)
        assert recorder.records == []
        release.set()
        made.collect(1)
    assert [outcome.status for outcome in outcomes(recorder)] == ["done"]
