"""The brokers that must pass the contract, and what its tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from events.broker import Broker
from events.memory import Limits, MemoryBroker
from tests.contract.bench import Bench


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Every adapter in turn; a new one is added here and nowhere else."""
    if request.param == "memory":
        return MemoryBroker(limits=Limits(transaction_timeout_s=1, transaction_check_s=0.5))
    from events.kafka import KafkaBroker

    return KafkaBroker(request.getfixturevalue("kafka_bootstrap"))


@pytest.fixture
def bench(broker: Broker) -> Iterator[Bench]:
    """A broker with topics and clients of this test's own."""
    bench = Bench(broker)
    yield bench
    bench.close()
