"""`caseworks` as a user starts it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from caseworks.shadowing import ROOT

COMMAND = (sys.executable, "-m", "caseworks")


def environment(data_dir: Path) -> dict[str, str]:
    """Everything below *data_dir*, small topics, and this source tree."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CASEWORKS_DATA_DIR": str(data_dir),
        "CASEWORKS_INBOX_PARTITIONS": "4",
        "CASEWORKS_EVENTS_PARTITIONS": "2",
        "CASEWORKS_TASKS_PARTITIONS": "2",
        "CASEWORKS_RESULTS_PARTITIONS": "2",
    }


def caseworks(
    data_dir: Path, *args: str, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *args],
        cwd=ROOT,
        env=environment(data_dir),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Up:
    """A running `caseworks up` that said it is ready."""

    def __init__(self, data_dir: Path, app: str) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "up.err"
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--app", app],
                cwd=ROOT,
                env=environment(data_dir),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        line = self.out.readline()
        assert line.startswith("ready bootstrap="), line + self.log.read_text()
        self.bootstrap = line.removeprefix("ready bootstrap=").strip()

    def children(self) -> dict[str, int]:
        """Process ids of the roles by what their command lines say, as `ps` shows them."""
        found = {}
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it died just now
                words = " ".join(process.cmdline()).partition("caseworks ")[2].split()
                if words:
                    many = words[0] in ("coordinator", "worker")
                    found[f"{words[0]}-{words[2]}" if many else words[0]] = process.pid
        return found

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def up(data_dir: Path, app: str) -> Iterator[Up]:
    """`caseworks up`, ended in any case."""
    data_dir.mkdir(parents=True, exist_ok=True)
    running = Up(data_dir, app)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(30)
        running.out.close()


def left_behind(data_dir: Path, pids: Collection[int] = ()) -> list[str]:
    """What still runs of these processes, and whatever names the folder on its command line."""
    return [
        " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["pid", "cmdline"])
        if process.info["pid"] in pids
        or any(str(data_dir) in word for word in process.info["cmdline"] or ())
    ]


def until(reached: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)
