"""The child: loads the module of one agent and runs its function, one task at a time.

Started by `agents.processes.parent` with what it needs as JSON. It talks over what were its stdin
and stdout; the function finds an empty stdin, and what it prints goes to the worker's stderr.
It ends with its parent, however that dies: by the link that breaks, which takes along what the
function itself has started, and on Linux by the kernel, should the function hold the interpreter.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import reduce
from importlib import import_module
from threading import Thread
from traceback import format_exception
from typing import Any, BinaryIO, NoReturn

from pydantic_core import from_json

from agents.agent import Agent
from agents.forks import end_forks_that_return
from agents.outcomes import VERDICTS, Done, Failed, text_of, verdict_of
from agents.processes.memory import limit_memory
from agents.processes.wire import (
    BEGAN,
    LENGTH,
    READY,
    TRACEBACK_CHARS_MAX,
    Answer,
    framed,
    written,
)
from agents.wrappers.checked_output import checked
from events.logs import bind_case, configure

PR_SET_PDEATHSIG = 1


def main(told: Mapping[str, Any]) -> NoReturn:
    """Serve until the parent closes the link."""
    requests, answers = _link()
    _end_with(int(told["parent"]), requests.fileno())
    faulthandler.enable()  # a crash says where it was
    end_forks_that_return()
    try:
        # First, as in a worker: what the module says of its logs comes after.
        configure(level=told["log_level"], role="agent", function=told["qualname"])
        agent = _loaded(told["module"], told["qualname"])
        if told["memory_max_mb"] is not None:
            limit_memory(told["memory_max_mb"])
    except BaseException as error:  # noqa: BLE001 - the user's module may do anything
        _say(answers, framed(f"{type(error).__name__}: {text_of(error)}".encode()))
        _end(1)
    _say(answers, framed(READY))
    while (request := _request(requests)) is not None:
        _say(answers, BEGAN)
        _say(answers, written(answer_to(agent, request, told["output_bytes_max"])))
    _end(0)


def answer_to(agent: Agent, request: bytes, output_bytes_max: int) -> Answer:
    """Run the function on a request; whatever it raises is an answer.

    In a context of its own, so that nothing of one task is left to the next.
    """
    return copy_context().run(_answer_to, agent, request, output_bytes_max)


def _answer_to(agent: Agent, request: bytes, output_bytes_max: int) -> Answer:
    try:
        found = from_json(request)
        bind_case(found["case_id"], found["traceparent"])  # for what the function logs
        value = agent.function(*agent.arguments_of(found["data"], found["results"]))
    except BaseException as error:  # noqa: BLE001 - any agent's, sys.exit() included
        verdict = verdict_of(error)
        told = "".join(format_exception(error)) if isinstance(verdict, Failed) else ""
        return Answer(verdict, raised=True, traceback=told[-TRACEBACK_CHARS_MAX:])
    verdict = value if type(value) in VERDICTS else Done(value)
    if type(verdict) is Done:
        verdict = checked(agent, verdict, output_bytes_max)
    return Answer(verdict)


def _loaded(module: str, qualname: str) -> Agent:
    found: Any = import_module(module)
    return Agent.from_function(reduce(getattr, qualname.split("."), found))


def _link() -> tuple[BinaryIO, BinaryIO]:
    """Our end of the link, out of the function's reach."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb", buffering=0)


def _request(requests: BinaryIO) -> bytes | None:
    head = requests.read(LENGTH.size)
    return requests.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _say(answers: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    with suppress(BrokenPipeError):  # the parent is gone: reading says so
        while left:
            left = left[answers.write(left) :]


def _end(code: int) -> NoReturn:
    """Without waiting for what the function may have left behind."""
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(code)


def _end_with(parent: int, link: int) -> None:
    if sys.platform == "linux":
        from ctypes import CDLL

        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked to be told
    Thread(target=_watch, args=(link,), name="link", daemon=True).start()


def _watch(link: int) -> None:
    poll = select.poll()
    poll.register(link, 0)  # that it is closed is always told
    poll.poll()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
