"""Exceptions become verdicts here and nowhere else; the table is `outcomes.verdict_of`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from zlib import crc32

from agents.call import Call, Handler
from agents.outcomes import Deferred, Failed, Halted, Verdict, verdict_of
from schemas.lean import LeanTask


def translated(inner: Handler) -> Handler:
    """Answer every exception of the agent with a verdict; `sys.exit()` included.

    Only a cancellation by the worker goes through.
    """

    async def handle(call: Call) -> Verdict:
        try:
            return await inner(call)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return verdict_of(error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - any agent's
            return _told(call, verdict_of(error), error)

    return handle


def spread(wait_s: float, task: LeanTask) -> float:
    """Up to twice the wait, by a hash of the task: what was deferred together returns apart."""
    return wait_s * (1 + crc32(f"{task.task_id}:{task.attempt}".encode()) / 2**32)


def _told(call: Call, verdict: Verdict, error: BaseException) -> Verdict:
    log = call.context.log
    match verdict:
        case Halted(trace=()):
            log.warning("attempt_halted", kind=verdict.kind, error=verdict.message)
            return replace(verdict, trace=call.context.trace.lines())
        case Deferred(retry_after_s=wait_s) if wait_s is not None:
            log.info("attempt_deferred", kind=verdict.kind, error=verdict.message)
            return replace(verdict, retry_after_s=spread(wait_s, call.task))
        case Failed(kind="exception"):
            log.error("attempt_raised", error=verdict.message, exc_info=error)
        case _:
            log.info("attempt_ended", verdict=type(verdict).__name__.lower(), error=str(verdict))
    return verdict
