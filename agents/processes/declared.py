"""What `runs_in="process"` asks of a function, checked when the agent is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agents.signature import Signature, where_is
from events.errors import DeclarationError

RunsIn = Literal["worker", "process"]
PROCESSES_MAX = 2
MEMORY_MB_MIN = 16
START_S = 30.0
"""How long a task waits for a process that can run it; no run time."""


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """Where a child process finds the function, and what it may take."""

    module: str
    qualname: str
    processes_max: int = PROCESSES_MAX
    """Children of one worker, and so how many tasks of the agent it runs at once."""
    memory_max_mb: int | None = None
    """Address space that a child may take beyond what it takes when it is loaded."""


def own_process(
    fn: Callable[..., Any],
    signature: Signature,
    *,
    runs_in: RunsIn,
    processes_max: int | None,
    memory_max_mb: int | None,
    calls: tuple[str, ...],
) -> OwnProcess | None:
    """The process of an agent; none for one that runs in the worker. Raises `DeclarationError`."""
    where = where_is(fn)
    if runs_in == "worker":
        for name, value in (("processes_max", processes_max), ("memory_max_mb", memory_max_mb)):
            if value is not None:
                raise _wrong(where, f"{name} is for agents with processes", _ASK)
        return None
    if runs_in != "process":
        raise _wrong(where, f"runs_in is {runs_in!r}", "write 'worker' or 'process'")
    _check_function(fn, where)
    if signature.context_at is not None:
        change = "remove it: what the function needs comes as data, and it returns the rest"
        raise _wrong(where, "its Context stays in the worker", change)
    if calls:
        raise _wrong(where, "nothing guards its calls in another process", "remove `calls`")
    processes = PROCESSES_MAX if processes_max is None else processes_max
    if processes < 1:
        raise _wrong(where, f"processes_max is {processes}", "at least 1")
    if memory_max_mb is not None and memory_max_mb < MEMORY_MB_MIN:
        raise _wrong(where, f"memory_max_mb is {memory_max_mb}", f"at least {MEMORY_MB_MIN}")
    return OwnProcess(fn.__module__, fn.__qualname__, processes, memory_max_mb)


_ASK = "remove it, or ask for one: runs_in='process'"


def _check_function(fn: Callable[..., Any], where: str) -> None:
    if inspect.iscoroutinefunction(fn):
        raise _wrong(where, "it is async, and a process runs plain functions", "write `def`")
    if "<" in fn.__qualname__:  # <locals>, <lambda>
        text = "it is defined inside a function, where its process cannot import it"
        raise _wrong(where, text, "define it at the top of its module")
    if fn.__module__ == "__main__":
        text = "it is defined in the script that is run, which its process cannot import"
        raise _wrong(where, text, "move it to a module and import it from there")


def _wrong(where: str, what: str, change: str) -> DeclarationError:
    return DeclarationError(f"agent {where}: {what}: {change}")
