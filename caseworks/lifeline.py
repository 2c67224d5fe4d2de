"""What ties a process to the supervisor that started it: one socket, inherited.

The child says over it that it is ready. When the other end closes, even by kill -9 of the
supervisor, the child ends at once: nothing is left running, and nothing it had begun is lost,
since every part of Caseworks may be killed at any time.

A standby is a child that has loaded everything and waits to be told over it that its turn has come:
most of a start is loading.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from threading import Event, Thread

VARIABLE = "CASEWORKS_LIFELINE_FD"
STANDBY = "CASEWORKS_STANDBY"
"""Set for a child that must wait for its turn."""
GO = b"go\n"
ORPHANED = 70
"""Exit code of a child whose supervisor is gone."""
LINE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Hello:
    """A child is ready; `port` is where it serves `/healthz /readyz /metrics`."""

    port: int = 0

    def line(self) -> bytes:
        """As it travels."""
        return json.dumps({"port": self.port}).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Hello:
        """Raises `ValueError` when the line is something else."""
        found = json.loads(line)
        return cls(port=int(found.get("port", 0)))


class Lifeline:
    """The child's end. `hold` takes it from the environment."""

    def __init__(self, link: socket.socket, *, standby: bool = False) -> None:
        self._link = link
        self._turn = Event()
        if not standby:
            self._turn.set()
        Thread(target=self._watch, name="lifeline", daemon=True).start()

    @classmethod
    def hold(cls, environment: MutableMapping[str, str] = os.environ) -> Lifeline | None:
        """The lifeline that this process was given, if any; its own children do not inherit it."""
        number, standby = environment.pop(VARIABLE, ""), environment.pop(STANDBY, "")
        if not number.isdigit():
            return None
        os.set_inheritable(int(number), False)  # noqa: FBT003 - it takes no keywords
        return cls(socket.socket(fileno=int(number)), standby=bool(standby))

    def wait_for_turn(self) -> None:
        """Block while this process is a standby: until then it must touch nothing of others."""
        self._turn.wait()

    def ready(self, port: int = 0) -> None:
        """Tell the supervisor. An end that just closed is the watcher's business."""
        try:
            self._link.sendall(Hello(port).line())
        except OSError:
            return

    def _watch(self) -> None:
        while True:
            try:
                if not self._link.recv(1024):
                    break
                self._turn.set()
            except OSError:
                break
        os._exit(ORPHANED)
