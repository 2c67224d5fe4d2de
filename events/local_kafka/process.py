"""The Java process of a broker, from its start until it answers, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from events.local_kafka import watchdog
from events.local_kafka.config import HOST
from events.local_kafka.errors import LocalKafkaError, PortTakenError, diagnose
from events.local_kafka.ports import accepts

_OUTPUT = "kafka.out"
_LOG = "kafka.log"
_LOG_BYTES_READ = 256 * 1024


@dataclass(frozen=True)
class Process:
    """A running broker.

    Args:
        handle: The process that we started: Java itself, or the watchdog over it.
        pid: Java's process id.
        folder: Its data folder.
        log_start: Size of the log file before the start; what follows is this process's.
    """

    handle: subprocess.Popen[bytes]
    pid: int
    folder: Path
    log_start: int

    @property
    def alive(self) -> bool:
        return self.handle.poll() is None

    def stop(self, timeout_s: float) -> None:
        """End it in order, by force after `timeout_s`. Blocks until it is gone."""
        self._end(signal.SIGTERM)
        try:
            self.handle.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it by kill -9. Blocks until it is gone."""
        self._end(signal.SIGKILL)
        self.handle.wait()

    def _end(self, number: signal.Signals) -> None:
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # it ended just now

    def said(self) -> str:
        """What the process has logged and printed since its start (the last 256 KiB of each)."""
        log = _tail(self.folder / _LOG, self.log_start)
        return log + _tail(self.folder / _OUTPUT, 0)


def spawn(command: list[str], folder: Path, *, die_with_parent: bool) -> Process:
    """Start Java in the folder, in a session of its own, so that a Ctrl-C does not reach it.

    Raises `LocalKafkaError` when it cannot be started.
    """
    log = folder / _LOG
    log_start = log.stat().st_size if log.exists() else 0
    if die_with_parent:
        watch = [sys.executable, "-I", "-S", watchdog.__file__, str(os.getpid())]
        command = [*watch, *command]
    with (folder / _OUTPUT).open("wb") as output:
        handle = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if die_with_parent else output,
            stderr=output,
            start_new_session=True,
            env=java_environment(),
        )
    if handle.stdout is None:
        return Process(handle, handle.pid, folder, log_start)
    with handle.stdout as pipe:
        line = pipe.readline()
    if not line:
        handle.wait()
        reason, hint = diagnose(_tail(folder / _OUTPUT, 0))
        raise LocalKafkaError(f"Java could not be started: {reason}", hint=hint)
    return Process(handle, int(line), folder, log_start)


def java_environment() -> dict[str, str]:
    """Our environment, with a locale in which Java can read any path."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def wait_until_ready(
    process: Process,
    port: int,
    cluster_id: str,
    timeout_s: float,
    nodes: frozenset[int] = frozenset(),
) -> None:
    """Block until the broker answers a metadata request with its own cluster's id and these nodes.

    Raises:
        PortTakenError: it ended because somebody else listens on its port.
        LocalKafkaError: it ended for another reason, or did not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (accepts(port) and _answers(port, cluster_id, nodes)):
        if not process.alive:
            raise _ended(process)
        if time.monotonic() > deadline:
            reason, hint = diagnose(process.said())
            raise LocalKafkaError(
                f"Apache Kafka did not answer on {HOST}:{port} within {timeout_s:.0f} s: {reason}",
                hint=hint or f"see {process.folder / _LOG}",
            )
        time.sleep(0.02)


def _answers(port: int, cluster_id: str, nodes: frozenset[int]) -> bool:
    client = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
    try:
        metadata = client.list_topics(timeout=1)
    except KafkaException:
        return False
    alive = metadata.brokers.keys()
    return bool(alive) and nodes <= alive and metadata.cluster_id == cluster_id


def _ended(process: Process) -> LocalKafkaError:
    said = process.said()
    reason, hint = diagnose(said)
    kind = PortTakenError if "Address already in use" in said else LocalKafkaError
    return kind(
        f"Apache Kafka ended while it started: {reason or f'exit {process.handle.returncode}'}",
        hint=hint or f"see {process.folder / _LOG}",
    )


def _tail(path: Path, start: int) -> str:
    """The file's text from `start` on, at most its last 256 KiB; all of it if it was rolled."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - _LOG_BYTES_READ))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
