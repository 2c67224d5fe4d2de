"""Run time, counted from the moment the function starts.

The timer is set when the function first waits: one that never does cannot be interrupted anyway,
and a timer for each of them costs a sixth of a task's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from agents.call import Call, Handler
from agents.outcomes import Retry, Verdict


def within_time(inner: Handler) -> Handler:
    """Cancel the function when its time is over.

    An agent that ignores that is given up by the executor.
    """

    async def handle(call: Call) -> Verdict:
        if call.context.time_left_s <= 0:
            return Retry("deadline", "its deadline had passed before it started")
        running = inner(call)
        try:
            waits_for = running.send(None)
        except StopIteration as ended:
            verdict: Verdict = ended.value
            return verdict
        try:
            async with asyncio.timeout_at(call.context.run_until) as limit:
                return await _resumed(running, waits_for)
        except TimeoutError:
            if not limit.expired():
                raise
            return Retry("timeout", f"not done in {call.task.timeout_s:g} s")

    return handle


@coroutine
def _resumed(running: Coroutine[Any, Any, Verdict], waits_for: Any) -> Generator[Any, Any, Verdict]:
    """Await a coroutine that waits already."""
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, mostly
                waits_for = running.throw(error)
            else:
                waits_for = running.send(sent)
    except StopIteration as ended:
        verdict: Verdict = ended.value
        return verdict
    finally:
        running.close()
