"""From a data folder to a broker that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from events.local_kafka import ports
from events.local_kafka.config import HOST
from events.local_kafka.errors import PortTakenError
from events.local_kafka.process import Process, spawn, wait_until_ready
from events.local_kafka.runtime import HEAP_MB, Runtime
from events.local_kafka.storage import PROPERTIES, configure, format_once, last_port

_TRIES = 3


@dataclass(frozen=True)
class Launch:
    """How to start a broker on a folder.

    Args:
        folder: Its data folder, an absolute path that exists.
        timeout_s: How long it may take until it answers.
        port: Where clients reach it; 0: the port it had before if that is free, else any.
        die_with_parent: Whether it ends when this process does.
        heap_mb: Java's heap at most.
        overrides: More lines for `server.properties`.
        jvm_options: More options for Java.
    """

    folder: Path
    timeout_s: float
    port: int = 0
    die_with_parent: bool = True
    heap_mb: int = HEAP_MB
    overrides: Mapping[str, str] = field(default_factory=dict)
    jvm_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Launched:
    """A broker that answers."""

    process: Process
    port: int


def launch(runtime: Runtime, plan: Launch) -> Launched:
    """Start it and block until it answers. Raises `LocalKafkaError`; then nothing is left running.

    A port that we picked may be taken by somebody else before Java gets to it: then another is
    picked, a few times.
    """
    if plan.port and not ports.is_free(plan.port):
        raise PortTakenError(
            f"port {plan.port} on {HOST} is taken",
            hint="stop what listens there, choose another port, or 0 for a free one",
        )
    for attempt in range(1, _TRIES + 1):
        port = plan.port or _last_if_free(plan.folder) or ports.free_port()
        try:
            return _launch_on(runtime, plan, port)
        except PortTakenError:
            if attempt == _TRIES:
                raise
    raise AssertionError


def _last_if_free(folder: Path) -> int | None:
    port = last_port(folder)
    return port if port and ports.is_free(port) else None


def _launch_on(runtime: Runtime, plan: Launch, port: int) -> Launched:
    configure(plan.folder, port, ports.free_port(), plan.overrides)
    cluster_id = format_once(runtime, plan.folder)
    command = runtime.command(
        "kafka.Kafka",
        str(plan.folder / PROPERTIES),
        heap_mb=plan.heap_mb,
        jvm_options=plan.jvm_options or runtime.replaying(),
    )
    process = spawn(command, plan.folder, die_with_parent=plan.die_with_parent)
    try:
        wait_until_ready(process, port, cluster_id, plan.timeout_s)
    except BaseException:
        process.kill()
        raise
    return Launched(process, port)
