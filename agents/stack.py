"""The default stack around every agent's function, outermost first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agents.agent import Agent
from agents.call import Call, Handler, Wrapper
from agents.outcomes import VERDICTS, Done, Verdict
from agents.services import Services
from agents.wrappers.checked_input import checked_input
from agents.wrappers.checked_output import checked_output
from agents.wrappers.metered import metered
from agents.wrappers.retried import retried
from agents.wrappers.spared import spared
from agents.wrappers.translated import translated
from agents.wrappers.within_time import within_time

STACK: tuple[Wrapper, ...] = (
    metered,  # what it cost, however it ends
    translated,  # exceptions become verdicts
    spared,  # what an open breaker ended is deferred
    checked_input,  # the task's data and results as the function's types
    checked_output,  # the function's output as JSON within bounds
    within_time,  # run time from here on
    retried,  # transient errors, within that time
)
AROUND_PROCESS: tuple[Wrapper, ...] = (metered, translated, checked_input)
"""Of an agent in processes: what time and output may be is seen to where the process is."""


async def invoke(call: Call) -> Verdict:
    """Call the function: on the event loop, or in a thread of its own if it is a plain `def`."""
    agent = call.agent
    if agent.is_async:
        value = await agent.function(*call.arguments)
    else:
        value = await call.services.threads.run(partial(agent.function, *call.arguments))
    return value if type(value) in VERDICTS else Done(value)


def handler_of(stack: Sequence[Wrapper] = STACK, innermost: Handler = invoke) -> Handler:
    """The stack around the innermost handler."""
    handler = innermost
    for wrapper in reversed(stack):
        handler = wrapper(handler)
    return handler


def handler_for(agent: Agent, services: Services) -> Handler:
    """The stack of an agent; where there are no processes, all run in the worker."""
    if agent.process is None or services.processes is None:
        return handler_of((*services.around, *STACK))
    return handler_of((*services.around, *AROUND_PROCESS), services.processes.run)
