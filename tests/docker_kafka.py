"""Apache Kafka in a container, as the compose file describes it."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"
READY_S_MAX = 120
# The compose file's listener for clients on the host.
HOST_LISTENER, HOST_LISTENER_PORT = "HOST", 29092


@contextmanager
def docker_kafka() -> Iterator[str]:
    """Runs the compose file's broker on a free port of this host; yields its `host:port`.

    Raises `docker.errors.DockerException` when no Docker answers: whoever asks for it means it.
    """
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    kafka = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["kafka"]
    port = _free_port()
    environment = {name: str(value) for name, value in kafka["environment"].items()}
    # Clients are sent to the advertised address, so the port must be known before the start.
    environment["KAFKA_ADVERTISED_LISTENERS"] = (
        f"PLAINTEXT://localhost:9092,{HOST_LISTENER}://localhost:{port}"
    )
    environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] = "1@localhost:9093"
    container = DockerContainer(kafka["image"], env=environment)
    container.with_bind_ports(HOST_LISTENER_PORT, port)
    started = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(READY_S_MAX)
    with container.waiting_for(started):
        yield f"localhost:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
