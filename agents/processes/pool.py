"""The children of a worker: as many as each agent may have, started with it and replaced.

On the event loop of the agents alone, except where a method says else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from agents.agent import Agent
from agents.call import Call
from agents.outcomes import Verdict
from agents.processes.declared import START_S, OwnProcess
from agents.processes.parent import Child, NotBegunError, NotLoadedError
from agents.wrappers.retried import retried
from agents.wrappers.within_time import within_time
from events import metrics
from events.errors import TransientError
from events.logs import get_logger

BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 10.0
BEGINS_MAX = 3
"""Children that may die under a task before it began."""

_log = get_logger("caseworks.worker")


class NoProcessError(TransientError):
    """An agent's processes do not start."""

    kind = "no_process"


class Pool:
    """The children of one agent."""

    def __init__(
        self, agent: str, own: OwnProcess, output_bytes_max: int, telemetry: metrics.Telemetry
    ) -> None:
        self.trouble = f"the processes of {agent!r} start"
        """Why no task of the agent can run; empty when one can. Thread-safe."""
        self._agent = agent
        self._own = own
        self._output_bytes_max = output_bytes_max
        self._telemetry = telemetry
        self._free: asyncio.LifoQueue[Child] = asyncio.LifoQueue()
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start as many as there may be, and keep it so until the loop ends."""
        loop = asyncio.get_running_loop()
        self._keepers += [loop.create_task(self._keep()) for _ in range(self._own.processes_max)]

    async def close(self) -> None:
        """End all children, and wait until they have."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    @asynccontextmanager
    async def child(self) -> AsyncIterator[Child]:
        """A child for one task; what runs in it at the end is killed. Raises `NoProcessError`."""
        try:
            async with asyncio.timeout(START_S):
                child = await self._free.get()
                while not child.usable or not child.alive:
                    child = await self._free.get()
        except TimeoutError:
            text = f"no process for it within {START_S:g} s"
            raise NoProcessError(f"{text}: {self.trouble}" if self.trouble else text) from None
        try:
            yield child
        finally:
            if child.usable:
                self._free.put_nowait(child)
            else:
                child.kill()

    async def _keep(self) -> None:
        """One place of the pool: a child after another."""
        failed = 0
        while True:
            try:
                child = await Child.start(self._own, self._output_bytes_max)
            except NotLoadedError as error:
                self.trouble = f"the processes of {self._agent!r} do not start: {error}"
                wait_s = min(BACKOFF_S_MIN * 2.0**failed, BACKOFF_S_MAX)
                failed += 1
                _log.error(
                    "process_not_started", agent=self._agent, error=str(error), again_in_s=wait_s
                )
                await asyncio.sleep(wait_s)
                continue
            self.trouble, failed = "", 0
            try:
                self._free.put_nowait(child)
                await child.ended()
            finally:
                await child.close()
            self._telemetry.count("caseworks_agent_processes_ended_total", agent=self._agent)


class Processes:
    """The pools of a worker, by agent."""

    def __init__(
        self, agents: Iterable[Agent], output_bytes_max: int, telemetry: metrics.Telemetry
    ) -> None:
        self._pools = {
            agent.name: Pool(agent.name, agent.process, output_bytes_max, telemetry)
            for agent in agents
            if agent.process is not None
        }

    def start(self) -> None:
        """Start all children; does not wait. They end with the event loop's tasks."""
        for pool in self._pools.values():
            pool.start()

    def trouble(self) -> str:
        """Which agent has no process to run in, and why; empty if all have. Thread-safe."""
        return next((pool.trouble for pool in self._pools.values() if pool.trouble), "")

    async def run(self, call: Call) -> Verdict:
        """Run a task in a child: the innermost handler of such agents.

        The wait for a child is no run time. A task that is out of time is stopped for good: its
        child is killed, and the next one waits for another.
        """
        pool = self._pools[call.agent.name]
        for _ in range(BEGINS_MAX):
            try:
                async with pool.child() as child:
                    self._start_clock(call)
                    return await within_time(retried(child.ask))(call)
            except NotBegunError as error:
                call.context.log.warning("process_died_idle", how=str(error))
        raise NoProcessError(f"{BEGINS_MAX} processes died before they saw it")

    @staticmethod
    def _start_clock(call: Call) -> None:
        left_s = call.task.deadline.timestamp() - call.services.now()
        run_s = min(call.task.timeout_s, left_s)
        call.context.run_until = asyncio.get_running_loop().time() + run_s
