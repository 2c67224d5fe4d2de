"""Transient errors are tried again inside the attempt, as long as its time allows.

The first try is made plainly: work that succeeds does not pay for tenacity. Waits grow
exponentially with jitter drawn from a hash of task, attempt and try (the same run waits the same),
and are never shorter than what the dependency asked for. What does not fit into the attempt's time
goes back to the coordinator at once.
"""

from __future__ import annotations

import asyncio
from zlib import crc32

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
)
from tenacity.stop import stop_base

from agents.call import Call, Handler
from agents.context import Context
from agents.outcomes import Verdict, is_transient
from events.errors import TransientError

WAIT_S_MIN = 0.1
WAIT_S_MAX = 10.0


def retried(inner: Handler) -> Handler:
    """Try up to the agent's `tries_max` times."""

    async def handle(call: Call) -> Verdict:
        try:
            return await inner(call)
        except Exception as error:
            if call.agent.spec.tries_max == 1 or not is_transient(error):
                raise
            return await _again(inner, call, error)

    return handle


class _OutOfTime(stop_base):
    """The next try would begin after the attempt has ended."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, retry_state: RetryCallState) -> bool:
        return retry_state.upcoming_sleep >= self._context.time_left_s


async def _again(inner: Handler, call: Call, first: Exception) -> Verdict:
    name = f"{call.task.task_id}:{call.task.attempt}"
    failed: Exception | None = first

    async def next_try() -> Verdict:
        nonlocal failed
        if failed is not None:
            error, failed = failed, None
            raise error
        return await inner(call)

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return wait_after(error, name, state.attempt_number)

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=stop_after_attempt(call.agent.spec.tries_max) | _OutOfTime(call.context),
        wait=wait_s,
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    verdict: Verdict = await retrying(next_try)
    return verdict


def wait_after(error: BaseException | None, name: str, tried: int) -> float:
    """Seconds before the next try: full jitter, at least what the error asks for."""
    ceiling = min(WAIT_S_MIN * 2.0**tried, WAIT_S_MAX)
    share = crc32(f"{name}:{tried}".encode()) / 2**32
    asked = error.retry_after_s if isinstance(error, TransientError) else None
    return max(ceiling * share, asked or 0.0)
