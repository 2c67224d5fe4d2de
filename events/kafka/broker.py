"""The factory of everything that talks to one Kafka cluster."""

from __future__ import annotations

from collections.abc import Mapping

from events.broker import ConsumerSpec, Features
from events.kafka.admin import KafkaAdmin
from events.kafka.config import ClientConfig, Trouble, nobody
from events.kafka.consumer import KafkaConsumer
from events.kafka.producer import EagerProducer, KafkaProducer
from events.kafka.reader import KafkaLogReader
from events.kafka.transactional import KafkaTransactionalProducer


class KafkaBroker:
    """Apache Kafka as `events.broker.Broker`. Constructing it does not connect.

    Args:
        bootstrap: `host:port[,host:port]`.
        config: More settings by the client library's names (`security.protocol`, sizes); those
            that the promises rest on stay ours.
        client_id: How broker logs and quotas name this process.
        transaction_timeout_s: After which the broker aborts a transaction that nobody ends.
        replication: How many copies new topics get.
        trouble: Hears the name of each error that clients get over by themselves, to count it;
            called on client threads, must not block.
    """

    features = Features(persistent=True)

    def __init__(
        self,
        bootstrap: str,
        *,
        config: Mapping[str, str] | None = None,
        client_id: str = "caseworks",
        transaction_timeout_s: float = 10.0,
        replication: int = 1,
        trouble: Trouble = nobody,
    ) -> None:
        self.bootstrap = bootstrap
        self._config = ClientConfig(
            bootstrap, client_id, dict(config or {}), transaction_timeout_s, trouble
        )
        self._replication = replication

    def consumer(self, spec: ConsumerSpec) -> KafkaConsumer:
        return KafkaConsumer(
            self._config.member(spec),
            spec,
            trouble=self._config.trouble,
            aside=self._config.reader("read_uncommitted"),
        )

    def producer(self, *, ordered: bool = True) -> KafkaProducer | EagerProducer:
        if ordered:
            return KafkaProducer(self._config.producer())
        return EagerProducer(self._config.producer(linger_ms=0), self._config.producer(linger_ms=5))

    def transactional(self, transactional_id: str) -> KafkaTransactionalProducer:
        return KafkaTransactionalProducer(self._config.transactional(transactional_id))

    def reader(self) -> KafkaLogReader:
        return KafkaLogReader(self._config)

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(self._config, replication=self._replication)
