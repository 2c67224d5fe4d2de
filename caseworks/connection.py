"""The Kafka that the settings name, or the local one that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from events.errors import SetupError

if TYPE_CHECKING:
    from events.broker import Broker
    from events.settings import Settings


def connect(settings: Settings) -> Broker:
    """The Kafka of the settings, else the local one that the data folder names.

    Raises `SetupError` when there is neither.
    """
    from events.kafka import KafkaBroker

    return KafkaBroker(
        bootstrap_of(settings),
        config=settings.kafka_config,
        client_id=f"caseworks-{settings.namespace}",
        transaction_timeout_s=settings.transaction_timeout_s,
        replication=settings.replication_factor,
    )


def bootstrap_of(settings: Settings) -> str:
    """Where clients find that Kafka. Raises `SetupError` when there is neither."""
    if settings.bootstrap_servers:
        return settings.bootstrap_servers
    from events.local_kafka import status

    running = status(settings.data_dir)
    if running is None:
        raise SetupError(
            "no broker: nothing is set and no local Kafka runs here",
            hint="caseworks up, caseworks kafka start, or CASEWORKS_BOOTSTRAP_SERVERS",
        )
    return running.bootstrap
