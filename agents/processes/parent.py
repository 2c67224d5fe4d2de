"""The parent's side: one child process, and what its end means for the task that it ran.

Not `concurrent.futures.ProcessPoolExecutor`: there the death of one process fails all that is in
flight, and nothing that runs can be stopped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from pydantic_core import to_json

from agents.call import Call
from agents.outcomes import Deferred, Failed, Retry, Verdict
from agents.processes.declared import START_S, OwnProcess
from agents.processes.wire import BEGAN, HEAD_BYTES_MAX, LENGTH, READY, Answer, framed, read
from events.errors import DependencyOpenError, TransientError

LAST_BREATH_S = 1.0
"""How long a child may live on that has closed its end of the link."""
_BOOT = (
    "import json, sys; told = json.loads(sys.argv[1]); sys.path[:] = told['path']; "
    "from agents.processes.child import main; main(told)"
)


class NotBegunError(Exception):
    """The child died before it saw the task: another one may run it."""


class NotLoadedError(Exception):
    """A child could not load its module."""


class RemoteError(TransientError):
    """A transient error that was raised in a child."""

    def __init__(self, verdict: Retry) -> None:
        super().__init__(verdict.message, retry_after_s=verdict.retry_after_s)
        self.kind = verdict.kind


class Child:
    """One process. Runs one task at a time; on the event loop alone."""

    def __init__(self, process: Process, output_bytes_max: int) -> None:
        self.usable = True
        """Whether it takes another task: not while one runs, and not after what it may not do."""
        self._process = process
        self._output_bytes_max = output_bytes_max

    @classmethod
    async def start(cls, own: OwnProcess, output_bytes_max: int) -> Child:
        """A child that has loaded its module. Raises `NotLoadedError`."""
        told = {
            "path": sys.path,
            "parent": os.getpid(),
            "module": own.module,
            "qualname": own.qualname,
            "memory_max_mb": own.memory_max_mb,
            "output_bytes_max": output_bytes_max,
            "log_level": logging.getLevelName(logging.getLogger().level).lower(),
        }
        arguments = (sys.executable, "-c", _BOOT, to_json(told).decode())
        try:
            # A group of its own: Ctrl-C does not reach it, and its own children die with it.
            process = await asyncio.create_subprocess_exec(
                *arguments, stdin=PIPE, stdout=PIPE, process_group=0
            )
        except OSError as error:
            raise NotLoadedError(f"it cannot be started: {error}") from None
        made = cls(process, output_bytes_max)
        try:
            async with asyncio.timeout(START_S):
                said = await made._frame(HEAD_BYTES_MAX)
        except TimeoutError:
            said = f"its module did not load within {START_S:g} s".encode()
        except asyncio.IncompleteReadError:
            said = f"it died while it loaded: {await made._end()}".encode()
        except BaseException:
            await made.close()
            raise
        if said != READY:
            await made.close()
            raise NotLoadedError(said.decode(errors="replace"))
        return made

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def ask(self, call: Call) -> Verdict:
        """Have it run a task: a handler. Raises `NotBegunError`, and what is worth another try."""
        if not self.usable:
            raise NotBegunError
        self.usable = False
        answer = await self._answer(call)
        verdict = answer.verdict
        if answer.raised and isinstance(verdict, Failed):
            log = call.context.log
            log.error("attempt_raised", error=verdict.message, traceback=answer.traceback)
        # What a lack of memory leaves behind is found by nobody: the next task gets a new one.
        self.usable = self.alive and not (
            isinstance(verdict, Failed) and verdict.kind in {"crashed", "memory"}
        )
        if answer.raised and isinstance(verdict, Retry):
            raise RemoteError(verdict)
        if answer.raised and isinstance(verdict, Deferred):
            raise DependencyOpenError(verdict.message, retry_after_s=verdict.retry_after_s)
        return verdict

    def kill(self) -> None:
        """End it and what it started, whatever it does."""
        self.usable = False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def close(self) -> None:
        """End it, and wait until it has."""
        self.kill()
        await self._process.wait()

    async def _answer(self, call: Call) -> Answer:
        request, began = _request(call), False
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(framed(request))
            await self._process.stdin.drain()
            began = await self._process.stdout.readexactly(1) == BEGAN
            head = await self._frame(HEAD_BYTES_MAX)
            return read(head, await self._frame(max(self._output_bytes_max, HEAD_BYTES_MAX)))
        except (asyncio.IncompleteReadError, ConnectionError):
            how = await self._end()
            if not began:
                raise NotBegunError(how) from None
            return Answer(Failed("crashed", how))
        except (ValueError, TypeError, LookupError) as error:
            self.kill()
            text = f"what its process said is no answer ({error}): leave unknown descriptors alone"
            return Answer(Failed("crashed", text))

    async def _frame(self, bytes_max: int) -> bytes:
        assert self._process.stdout is not None
        [size] = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
        if size > bytes_max:
            raise ValueError(f"{size} bytes")
        return await self._process.stdout.readexactly(size)

    async def _end(self) -> str:
        """How it ended, and what to do about it."""
        try:
            async with asyncio.timeout(LAST_BREATH_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            return "its process closed its link to the worker: leave unknown descriptors alone"
        return how_it_ended(self._process.returncode or 0)


def _request(call: Call) -> bytes:
    task, reads = call.task, {source.name for source in call.agent.inputs}
    return to_json(
        {
            "data": task.event.data if task.input is None else task.input,
            "results": {name: value for name, value in task.results.items() if name in reads},
            "case_id": task.case_id,
            "traceparent": task.event.traceparent,
        }
    )


def how_it_ended(code: int) -> str:
    """An exit code in words, with what to do."""
    if code >= 0:
        return f"its process ended with exit code {code}: raise an error instead of os._exit()"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if code == -signal.SIGKILL:
        return (
            f"its process was killed by {name}, mostly for lack of memory: set memory_max_mb, "
            "or fewer processes_max"
        )
    return f"its process was killed by {name}: the worker's stderr says where it was"
