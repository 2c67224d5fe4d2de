"""Runs a command that must not outlive this machine's interest in it.

    python watchdog.py PARENT_PID COMMAND…

Starts COMMAND, prints its process id, and ends when it ends; stops it when the process PARENT_PID,
which started this one, is gone, by whatever means.

Why a process of its own: PR_SET_PDEATHSIG alone is Linux only, and it fires when the *thread* that
forked ends, not the process; a pipe from the parent stays open in whatever else the parent forked.
The parent's id, which changes when it dies, has neither trouble. PR_SET_PDEATHSIG then covers what
is left, a kill -9 of this watchdog, which has one thread only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_POLL_S = 0.25
_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> int:
    """Run the command; return its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_watchdog if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
    )
    try:
        os.write(1, b"%d\n" % child.pid)
        os.close(1)
        while os.getppid() == parent:
            try:
                return child.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        _stop(child)
    return child.returncode


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _die_with_watchdog() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
