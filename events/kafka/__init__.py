"""Apache Kafka behind the broker ports: the only package that imports confluent_kafka.

    broker = KafkaBroker("localhost:9092")
    consumer = broker.consumer(ConsumerSpec("cw.intake", ("cw.events",), instance="cw-intake-0"))

`broker.py` is the way in; `config.py` holds every client setting and its reason, `errors.py` what
an error of the client library means to us.
"""

from __future__ import annotations

from events.kafka.broker import KafkaBroker

__all__ = ["KafkaBroker"]
