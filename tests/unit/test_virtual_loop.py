"""asyncio on a virtual clock."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from events.errors import DeclarationError
from events.virtual_loop import VirtualLoop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Iterator[VirtualLoop]:
    loop = VirtualLoop(clock)
    yield loop
    loop.close()


def test_sleep_ends_when_the_clock_says_so(loop: VirtualLoop, clock: Clock) -> None:
    woken: list[float] = []

    async def agent() -> None:
        await asyncio.sleep(3600)
        woken.append(loop.time())

    loop.create_task(agent())
    loop.run_ready()
    assert loop.next_timer() == 3700
    assert not loop.has_ready

    clock.now = 3700
    assert loop.has_ready
    loop.run_ready()

    assert woken == [3700]
    assert loop.next_timer() is None


def test_timeouts_tasks_queues_and_locks_work_as_always(loop: VirtualLoop, clock: Clock) -> None:
    said: list[str] = []

    async def slow() -> None:
        try:
            async with asyncio.timeout(5):
                await asyncio.sleep(50)
        except TimeoutError:
            said.append("timed out")

    async def talk(queue: asyncio.Queue[str]) -> None:
        async with asyncio.Lock():
            said.append(await queue.get())

    async def everything() -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
            group.create_task(talk(queue))
            await queue.put("heard")

    loop.create_task(everything())
    loop.run_ready()
    clock.now += 5
    loop.run_ready()

    assert said == ["heard", "timed out"]


def test_a_step_can_be_one_callback(loop: VirtualLoop) -> None:
    said: list[str] = []
    for name in "ab":
        loop.call_soon(said.append, name)

    assert loop.run_ready(1) == 1
    assert said == ["a"]


def test_a_coroutine_without_waiting_can_be_run_to_its_end(loop: VirtualLoop) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(answer()) == 42
    with pytest.raises(DeclarationError, match="nothing moves the virtual clock"):
        loop.run_until_complete(asyncio.sleep(1))


async def reads_a_socket() -> None:
    with socket.socket() as real:
        await asyncio.get_running_loop().sock_recv(real, 1)


async def uses_a_thread() -> None:
    await asyncio.to_thread(time.monotonic)


async def opens_a_connection() -> None:
    await asyncio.open_connection("localhost", 1)


async def starts_a_process() -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize(
    "agent", [reads_a_socket, uses_a_thread, opens_a_connection, starts_a_process]
)
def test_whoever_reaches_outside_is_named(
    loop: VirtualLoop, agent: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    name = agent.__qualname__
    with pytest.raises(DeclarationError, match=rf"{name} \(test_virtual_loop.py:\d+\)"):
        loop.run_until_complete(agent())


def test_abandoned_tasks_are_dropped_and_their_finally_reaches_nothing(loop: VirtualLoop) -> None:
    said: list[str] = []

    async def agent(name: str) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            said.append(name)
            try:
                loop.call_soon(said.append, "scheduled")
            except RuntimeError as error:
                said.append(str(error))
            await asyncio.sleep(0)
            said.append("went on")

    for name in "ab":
        loop.create_task(agent(name))
    loop.run_ready()
    loop.create_task(agent("never begun"))
    loop.abandon()

    assert said == ["a", "Event loop is closed", "b", "Event loop is closed"]


def test_an_exception_that_nobody_fetches_is_kept(loop: VirtualLoop) -> None:
    def fail() -> None:
        raise ValueError("nobody fetches me")

    loop.call_soon(fail)
    loop.run_ready()

    assert isinstance(loop.errors[0]["exception"], ValueError)


def test_task_names_do_not_depend_on_other_loops(clock: Clock) -> None:
    async def nothing() -> None: ...

    names = []
    for _ in range(2):
        loop = VirtualLoop(clock)
        names.append(loop.create_task(nothing()).get_name())
        loop.run_ready()
        loop.close()

    assert names[0] == names[1]
