"""Agents in trouble: they fail, take their time, or do not come back at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from agents.call import Call, Handler
from agents.outcomes import Deferred, Escalate, Failed, Retry, Verdict
from agents.stack import handler_of, invoke
from events.memory import Dice

STUCK_S_MAX = 150.0
"""How long an agent may ignore that it was cancelled."""
WHY = "the simulation says so"


@dataclass(frozen=True, slots=True)
class Poison:
    """Tasks that kill the worker that runs them: *die* ends its process at once."""

    tasks: set[str]
    die: Callable[[], None]


def troubled(dice: Dice, where: str, poison: Poison) -> Handler:
    """The usual stack around every agent, with trouble where its function is called."""

    async def handle(call: Call) -> Verdict:
        if call.task.task_id in poison.tasks or dice.strikes("agent_kills", where):
            poison.tasks.add(call.task.task_id)
            poison.die()
            await asyncio.Event().wait()
        if dice.strikes("agent_sticks", where):
            await _stick(dice.between(1.0, STUCK_S_MAX))
        if dice.strikes("agent_lingers", where):
            longest = 1.2 * call.task.timeout_s if dice.pick(4) == 0 else 2.0
            await asyncio.sleep(dice.between(0.01, longest))
        if dice.strikes("agent_fails", where):
            return _failing(dice)
        return await invoke(call)

    return handler_of(innermost=handle)


def _failing(dice: Dice) -> Verdict:
    match dice.pick(8):
        case 0 | 1:
            return Failed("simulated", WHY)
        case 2:
            return Deferred("simulated", WHY, dice.between(0.1, 3.0))
        case 3:
            return Escalate(WHY)
        case _:
            return Retry("simulated", WHY)


async def _stick(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            await asyncio.sleep(until - loop.time())
        except asyncio.CancelledError:
            continue
