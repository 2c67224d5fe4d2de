"""Names agents that reach outside of the simulation: sockets, threads, processes, the wall clock.

What the interpreter audits is refused while a run is watched. The clock has no audit events: one
run is played under a profiler that sees every call of it. Blamed is the nearest line of the app.
"""

from __future__ import annotations

import _thread
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

from caseworks.app import App
from events.errors import DeclarationError
from events.virtual_loop import AUDIT_EVENT

AUDITED = {
    "socket.__new__": "opens a socket",
    "socket.connect": "connects a socket",
    "socket.getaddrinfo": "looks up a host",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.fork": "starts a process",
    "os.exec": "starts a process",
    "_thread.start_new_thread": "starts a thread",
    AUDIT_EVENT: "reaches outside of its event loop",
}
INSTEAD = {
    "opens a socket": "hand the agent a fake of what it calls",
    "connects a socket": "hand the agent a fake of what it calls",
    "looks up a host": "hand the agent a fake of what it calls",
    "starts a process": "hand the agent a fake of what it starts",
    "starts a thread": "declare the agent with a plain def: Caseworks runs it in a thread",
    "reaches outside of its event loop": "hand the agent a fake, or declare it with a plain def",
    "reads the wall clock": "use ctx.now, ctx.time_left_s or the event's time",
    "sleeps on the wall clock": "await asyncio.sleep(...), which is virtual here",
}
_CLOCKS = (
    time.time,
    time.time_ns,
    time.monotonic,
    time.monotonic_ns,
    time.perf_counter,
    time.perf_counter_ns,
    time.localtime,
    time.gmtime,
)
_TODAY = frozenset(("now", "utcnow", "today"))


@dataclass(frozen=True, slots=True, order=True)
class Reach:
    """A line of the app that reaches outside."""

    file: str
    line: int
    function: str
    what: str

    def __str__(self) -> str:
        """One line: where, what, and what to do instead."""
        place = f"{Path(self.file).name}:{self.line}"
        return f"{self.function} ({place}) {self.what}: {INSTEAD[self.what]}"


class Watch:
    """Watches the code of an app's agents; one at a time."""

    def __init__(self, app: App) -> None:
        self._modules = {
            agent.function.__module__.partition(".")[0] for agent in app.agents.values()
        }
        self.found: set[Reach] = set()

    @contextmanager
    def watching(self, *, clock: bool = False) -> Iterator[None]:
        """Refuse and note what is audited; with *clock* also note reads of the clock, slowly."""
        _install()
        _watches.append(self)
        before = sys.getprofile()
        if clock:
            sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)
            _watches.remove(self)

    def audited(self, event: str) -> None:
        """Raises `DeclarationError` when the app is to blame."""
        what = AUDITED.get(event)
        if what is None:
            return
        blamed = self._blame(sys._getframe(2), what)  # noqa: SLF001 - of the audited call
        if blamed is not None:
            raise DeclarationError(str(blamed))

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "c_call":
            return
        if arg is _thread.start_new_thread:  # older interpreters do not audit it
            self._blame(frame, "starts a thread")
        if not self._is_ours(frame):
            return
        if arg is time.sleep:
            self._note(frame, "sleeps on the wall clock")
        elif arg in _CLOCKS or (
            isinstance(owner := getattr(arg, "__self__", None), type)
            and issubclass(owner, date)
            and arg.__name__ in _TODAY
        ):
            self._note(frame, "reads the wall clock")

    def _blame(self, frame: FrameType | None, what: str) -> Reach | None:
        while frame is not None:
            if self._is_ours(frame):
                return self._note(frame, what)
            frame = frame.f_back
        return None

    def _is_ours(self, frame: FrameType) -> bool:
        name: str = frame.f_globals.get("__name__", "")
        return name.partition(".")[0] in self._modules and frame.f_code.co_name != "<module>"

    def _note(self, frame: FrameType, what: str) -> Reach:
        code = frame.f_code
        found = Reach(code.co_filename, frame.f_lineno, code.co_qualname, what)
        self.found.add(found)
        return found


_watches: list[Watch] = []
_installed: list[Callable[[str, tuple[Any, ...]], None]] = []


def _install() -> None:
    """An audit hook can never be taken out again: there is one, and it asks who watches."""
    if _installed:
        return

    def hook(event: str, _: tuple[Any, ...]) -> None:
        for watch in _watches:
            watch.audited(event)

    _installed.append(hook)
    sys.addaudithook(hook)
