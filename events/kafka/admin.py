"""Topics and groups, through the library's admin client."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exports
    AdminClient,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)

from events.broker import GroupLag, OffsetAndMetadata, Roster, TopicPartition, TopicState
from events.errors import CaseworksError, SetupError
from events.kafka.config import ClientConfig
from events.kafka.errors import (
    GROUP_UNKNOWN,
    PARTITION_GONE,
    TOPIC_EXISTS,
    cause,
    translate,
    translated,
)
from events.kafka.rosters import Rosters
from events.topics import TopicSpec

ANSWER_TIMEOUT_S = 5.0
CREATE_TIMEOUT_S = 20.0
LOOK_AGAIN_S = 0.02


class KafkaAdmin:
    """See `events.broker.Admin`. `replication` is how many copies new topics get."""

    def __init__(self, config: ClientConfig, *, replication: int = 1) -> None:
        self._config = config
        self._bootstrap = config.bootstrap
        self._clients: dict[str, Any] = {}
        self._rosters = Rosters(config.admin())
        self._replication = replication
        try:
            self._client = AdminClient(config.admin())
        except KafkaException as exception:
            raise translate(cause(exception), "admin client") from exception

    def topics(self) -> dict[str, TopicState]:
        counts = self._partition_counts()
        configs = self._topic_configs(list(counts))
        return {
            name: TopicState(name, count, configs.get(name, {})) for name, count in counts.items()
        }

    def identity(self, topic: str) -> str:
        names = ck.TopicCollection([topic])
        asked = self._client.describe_topics(names, request_timeout=ANSWER_TIMEOUT_S)
        try:
            described = asked[topic].result(ANSWER_TIMEOUT_S)
        except KafkaException as exception:
            raise SetupError(f"{topic}: {cause(exception).str()}") from exception
        cluster = _result(
            self._client.describe_cluster(request_timeout=ANSWER_TIMEOUT_S), "the cluster's id"
        )
        return f"{cluster.cluster_id}/{described.topic_id}"

    def create(self, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
        """As the port says; returns when every topic has its leaders.

        Raises `SetupError` when the broker refuses, or they do not appear in `CREATE_TIMEOUT_S`.
        """
        there = self._partition_counts()
        missing = {spec.name: spec for spec in specs if spec.name not in there}
        if not missing:
            return ()
        asked = self._client.create_topics(
            [
                NewTopic(
                    spec.name,
                    num_partitions=spec.partitions,
                    replication_factor=self._replication,
                    config=dict(spec.config),
                )
                for spec in missing.values()
            ],
            request_timeout=CREATE_TIMEOUT_S,
        )
        made = tuple(name for name, future in asked.items() if _is_new(future, name))
        self._wait_for(missing)
        return made

    def lag(self, group: str, *, topics: Sequence[str] | None = None) -> tuple[GroupLag, ...]:
        counts = self._partition_counts()
        asked = [name for name in counts if topics is None or name in topics]
        every = {TopicPartition(name, n) for name in asked for n in range(counts[name])}
        committed = {at: said.offset for at, said in self._committed(group, every).items()}
        sources = sorted(every if topics is not None else committed.keys() | self._owned(group))
        ends = self._ends(group, sources)
        return tuple(GroupLag(at, committed.get(at), ends[at]) for at in sources if at in ends)

    def positions(
        self, group: str, topics: Sequence[str]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        counts = self._partition_counts()
        asked = [name for name in sorted(set(topics)) if name in counts]
        every = {TopicPartition(name, n) for name in asked for n in range(counts[name])}
        committed = self._committed(group, every)
        return {at: committed.get(at) for at in sorted(every)}

    def members(self, group: str) -> int:
        description = self._describe(group)
        return 0 if description is None else len(description.members)

    def roster(self, group: str) -> Roster:
        return self._rosters.of(group)

    def close(self) -> None:
        self._client.poll(0)  # the library's last log lines
        self._rosters.close()
        for client in self._clients.values():
            client.close()
        self._clients = {}

    # ---- topics

    def _partition_counts(self) -> dict[str, int]:
        metadata = self._metadata()
        return {
            name: len(topic.partitions)
            for name, topic in metadata.topics.items()
            if not name.startswith("__") and topic.error is None
        }

    def _metadata(self) -> Any:
        try:
            return self._client.list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException:
            raise SetupError(
                f"no Kafka answers at {self._bootstrap}",
                hint="`caseworks kafka start` starts one here,"
                " CASEWORKS_BOOTSTRAP_SERVERS names one elsewhere",
            ) from None
        finally:
            self._client.poll(0)  # the library's log lines

    def _topic_configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self._client.describe_configs(resources, request_timeout=ANSWER_TIMEOUT_S)
        return {
            resource.name: {
                entry.name: entry.value
                for entry in _result(future, f"configuration of {resource.name}").values()
                if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
            }
            for resource, future in asked.items()
        }

    def _wait_for(self, wanted: Mapping[str, TopicSpec]) -> None:
        deadline = time.monotonic() + CREATE_TIMEOUT_S
        while True:
            topics = self._metadata().topics
            waiting = [name for name in wanted if not _has_leaders(topics.get(name))]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise SetupError(
                    f"topics have no leader {CREATE_TIMEOUT_S:.0f} s after they were made: "
                    + ", ".join(waiting),
                    hint="look at the brokers' health",
                )
            time.sleep(LOOK_AGAIN_S)

    # ---- groups

    def _committed(
        self, group: str, every: set[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Asked by a consumer's client, not by the admin client.

        A question of the admin client to a group's coordinator that is open when the broker goes
        away and comes back ends the process: librdkafka 2.16 fails an assertion
        (`rd_kafka_enq_once_del_source_return`). Who measures lag again and again would meet that
        in every outage.
        """
        everywhere = [ck.TopicPartition(*at) for at in sorted(every)]
        asking = self._asking(group)
        with translated(f"positions of {group}"):
            answer = asking.committed(everywhere, timeout=ANSWER_TIMEOUT_S) if everywhere else []
        return {
            TopicPartition(each.topic, each.partition): OffsetAndMetadata(
                each.offset, each.metadata or ""
            )
            for each in answer
            if each.error is None and each.offset >= 0
        }

    def _asking(self, group: str) -> Any:
        """A client in the name of a group that never joins it; kept, since it has threads."""
        if group not in self._clients:
            config = {**self._config.reader("read_uncommitted"), "group.id": group}
            self._clients[group] = ck.Consumer(config)
        self._clients[group].poll(0)  # the library's log lines
        return self._clients[group]

    def _owned(self, group: str) -> set[TopicPartition]:
        description = self._describe(group)
        if description is None:
            return set()
        return {
            TopicPartition(each.topic, each.partition)
            for member in description.members
            if member.assignment is not None
            for each in member.assignment.topic_partitions
        }

    def _describe(self, group: str) -> Any:
        asked = self._client.describe_consumer_groups([group], request_timeout=ANSWER_TIMEOUT_S)
        try:
            return asked[group].result(ANSWER_TIMEOUT_S)
        except KafkaException as exception:
            if cause(exception).code() == GROUP_UNKNOWN:
                return None
            raise translate(cause(exception), f"members of {group}") from exception

    def _ends(self, group: str, sources: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """High watermarks; a partition that is gone is left out."""
        ends = {}
        for at in sources:
            try:
                part = ck.TopicPartition(*at)
                _, ends[at] = self._asking(group).get_watermark_offsets(part, ANSWER_TIMEOUT_S)
            except KafkaException as exception:
                if cause(exception).code() not in PARTITION_GONE:
                    raise translate(cause(exception), f"end of {at.topic}") from exception
        return ends


def _is_new(future: Future[Any], name: str) -> bool:
    try:
        future.result(CREATE_TIMEOUT_S)
    except KafkaException as exception:
        if cause(exception).code() == TOPIC_EXISTS:
            return False  # another process was faster
        error = translate(cause(exception), f"topic {name} cannot be made")
        raise SetupError(str(error)) from exception
    return True


def _has_leaders(topic: Any) -> bool:
    if topic is None or topic.error is not None or not topic.partitions:
        return False
    return all(partition.leader >= 0 for partition in topic.partitions.values())


def _result(future: Future[Any], where: str) -> Any:
    try:
        return future.result(ANSWER_TIMEOUT_S)
    except KafkaException as exception:
        raise translate(cause(exception), where) from exception
    except TimeoutError:
        raise CaseworksError(f"{where}: no answer for {ANSWER_TIMEOUT_S} s") from None
