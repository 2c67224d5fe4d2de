"""Run time, counted from the moment the function starts.

The timer is set when the function first waits: one that never does cannot be interrupted anyway,
and a timer for each of them costs a sixth of a task's time.
"""

from __future__ import annotations

import asyncio

from agents.call import Call, Handler
from agents.inline import resumed
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
                return await resumed(running, waits_for)
        except TimeoutError:
            if not limit.expired():
                raise
            return Retry("timeout", f"not done in {call.task.timeout_s:g} s")

    return handle
