"""Run time, counted from the moment the function starts."""

from __future__ import annotations

import asyncio

from agents.call import Call, Handler
from agents.outcomes import Retry, Verdict


def within_time(inner: Handler) -> Handler:
    """Cancel the function when its time is over.

    An agent that ignores that is given up by the executor.
    """

    async def handle(call: Call) -> Verdict:
        if call.context.time_left_s <= 0:
            return Retry("deadline", "its deadline had passed before it started")
        try:
            async with asyncio.timeout_at(call.context.run_until) as limit:
                return await inner(call)
        except TimeoutError:
            if not limit.expired():
                raise
            return Retry("timeout", f"not done in {call.task.timeout_s:g} s")

    return handle
