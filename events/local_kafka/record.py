"""`kafka.json`: which broker runs on a data folder, for processes that did not start it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.files import write_atomically
from events.local_kafka.storage import PROPERTIES

_FILE = "kafka.json"


class Status(BaseModel, frozen=True):
    """A running local Kafka."""

    bootstrap: str
    pid: int
    version: str
    started_at: datetime


def write_record(folder: Path, status: Status) -> None:
    """Tell other processes which broker runs on the folder."""
    write_atomically(folder / _FILE, status.model_dump_json(indent=2) + "\n")


def remove_record(folder: Path) -> None:
    """Tell other processes that none runs there any more."""
    (folder / _FILE).unlink(missing_ok=True)


def status(data_dir: Path) -> Status | None:
    """The broker that runs on this folder, None when there is none.

    A record alone proves nothing: the process must live, and run on this folder's configuration.
    """
    try:
        found = Status.model_validate_json((data_dir / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return found if _runs(found.pid, data_dir) else None


def stop(data_dir: Path, *, timeout_s: float = 20.0) -> bool:
    """Stop the broker that runs on this folder, by force after `timeout_s`.

    Returns whether there was one. Blocks until it is gone; raises `LocalKafkaError` when it
    belongs to another user.
    """
    found = status(data_dir)
    if found is not None:
        try:
            os.kill(found.pid, signal.SIGTERM)
            if not _gone_within(timeout_s, found.pid, data_dir):
                os.kill(found.pid, signal.SIGKILL)
                _gone_within(timeout_s, found.pid, data_dir)
        except ProcessLookupError:
            pass  # it ended by itself
        except PermissionError as error:
            raise LocalKafkaError(
                f"the Kafka on {data_dir} (process {found.pid}) belongs to another user",
                hint="stop it as that user",
            ) from error
    remove_record(data_dir)
    return found is not None


def _gone_within(timeout_s: float, pid: int, data_dir: Path) -> bool:
    deadline = time.monotonic() + timeout_s
    while _runs(pid, data_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _runs(pid: int, data_dir: Path) -> bool:
    """Whether this process is the Kafka of the folder (a process that ended has no arguments)."""
    return _command_line(pid).endswith(b" " + os.fsencode(data_dir.resolve() / PROPERTIES))


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        if Path("/proc/self").exists():
            return b""
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, check=False, timeout=10).stdout.rstrip(b"\n")
