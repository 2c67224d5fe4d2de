"""Fixtures of the tests of the Kafka adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kafka.kafka_world import World


@pytest.fixture
def world(kafka_bootstrap: str) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(kafka_bootstrap, stack)
