"""Fixtures that every test may take: a real Kafka, and how far hypothesis looks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from structlog.contextvars import clear_contextvars

if TYPE_CHECKING:
    from collections.abc import Iterator

# No deadline: a busy machine is not a bug. The same examples on every run of CI: a red build is
# about the change that it builds.
hypothesis.settings.register_profile(
    "bounded", max_examples=100, deadline=None, derandomize="CI" in os.environ, print_blob=True
)
hypothesis.settings.load_profile("bounded")

MARKED_BY_FOLDER = frozenset({"browser", "kafka", "sim", "e2e"})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="local",
        metavar="local|docker|HOST:PORT",
        help="the Apache Kafka for tests: started from packages, from an image, or running",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and by taking a broker: none of them slips into test-fast."""
    for item in items:
        kinds = MARKED_BY_FOLDER.intersection(Path(item.nodeid.partition("::")[0]).parts)
        if "kafka_bootstrap" in getattr(item, "fixturenames", ()):
            kinds |= {"kafka"}
        for kind in sorted(kinds):
            item.add_marker(kind)


@pytest.fixture(autouse=True)
def own_log_context() -> None:
    """What one test binds to its log lines does not stand in those of the next."""
    clear_contextvars()


@pytest.fixture(scope="session")
def kafka_bootstrap(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`host:port` of one Apache Kafka for the whole run; tests keep apart by namespace."""
    match request.config.getoption("--kafka"):
        case "local":
            from events.local_kafka import LocalKafka

            with LocalKafka.start(tmp_path_factory.mktemp("kafka")) as kafka:
                yield kafka.bootstrap
        case "docker":
            from tests.docker_kafka import docker_kafka

            with docker_kafka() as bootstrap:
                yield bootstrap
        case running:
            yield running
