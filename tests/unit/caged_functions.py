"""Functions that run in processes of their own in tests: they do what they are told."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agents.delegation import Delegate, DelegateStep
from agents.outcomes import Escalate
from events.errors import PermanentError, TransientError

KEPT: list[Any] = []


class Asked(BaseModel):
    """What to do, and where to leave a trace of it."""

    what: str
    file: Path | None = None


class Found(BaseModel):
    text: str
    confidence: float = 0.5


def work(asked: Asked, before: Found | None) -> Found | Escalate | Delegate:
    """Anything that code may do to its process; else it says in which one it is."""
    deed = DEEDS.get(asked.what)
    found = deed(asked) if deed else None
    return found or Found(text=f"{os.getpid()} {before.text if before else ''}".strip())


def _spin(asked: Asked) -> None:
    pids = [os.getpid()]
    if asked.what == "spin_with_child":
        pids.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]).pid)
    if asked.file is not None:
        asked.file.write_text(" ".join(map(str, pids)), encoding="ascii")
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        pass


def _scribble() -> None:
    """Write to every descriptor, as code does that thinks one is its own."""
    for descriptor in range(3, 12):
        try:
            os.write(descriptor, b"\x01\xff\xff\xff\xff")
        except OSError:
            continue


def _memory(_asked: Asked) -> None:
    KEPT.append(bytearray(600_000_000))


def _permanent(_asked: Asked) -> None:
    raise PermanentError("no such order")


def _transient(asked: Asked) -> None:
    if asked.what == "always transient" or not KEPT:
        KEPT.append("tried")
        raise TransientError("come again", retry_after_s=0.01)


def _fork(_asked: Asked) -> Found:
    child = os.fork()
    return Found(text=f"fork {os.waitpid(child, 0)[1] >> 8}" if child else "second answer")


def _log(_asked: Asked) -> None:
    logging.getLogger("shop").warning("half of it is done")


def _print(_asked: Asked) -> None:
    print("to stdout", sys.stdin.read())  # noqa: T201 - that is what is tried


DEEDS: dict[str, Callable[[Asked], Any]] = {
    "os._exit": lambda _: os._exit(3),
    "sys.exit": lambda _: sys.exit(4),
    "segfault": lambda _: ctypes.string_at(0),
    "kill": lambda _: os.kill(os.getpid(), 9),
    "spin": _spin,
    "spin_with_child": _spin,
    "memory": _memory,
    "50 MB": lambda _: Found(text="x" * 50_000_000),
    "permanent": _permanent,
    "transient": _transient,
    "always transient": _transient,
    "escalate": lambda _: Escalate("a lawyer"),
    "delegate": lambda _: Delegate(DelegateStep("look", agent="finder", input={"order": 7})),
    "fork": _fork,
    "log": _log,
    "print": _print,
    "scribble": lambda _: _scribble(),
}
