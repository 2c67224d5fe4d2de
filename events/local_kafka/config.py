"""The text of Kafka's configuration files: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

HOST = "127.0.0.1"
INTERNAL_PARTITIONS = 8
MESSAGE_BYTES_MAX = 10 * 1024 * 1024
"""Above the 9 MiB of the largest topic, with room for headers and batch overhead."""


def server_properties(
    port: int, controller_port: int, overrides: Mapping[str, str] | None = None
) -> str:
    """`server.properties` of one node that is broker and controller, reachable from here only.

    Paths in it are relative: the process runs in its data folder, so that no path needs escaping
    (`log.dirs` would take a comma for a separator) and the folder can be moved.
    """
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "log",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(MESSAGE_BYTES_MAX),
        "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        **_internal_topic("offsets.topic", INTERNAL_PARTITIONS),
        **_internal_topic("transaction.state.log", INTERNAL_PARTITIONS),
        **_internal_topic("share.coordinator.state.topic", 1),
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A killed node's successor is refused until the old registration expires: with Kafka's
        # 9 s a restart after kill -9 takes 12 s, with these 5 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Kafka sets 128 MiB aside for compaction; this is room for 700,000 keys a pass.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }
    settings.update(overrides or {})
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _internal_topic(prefix: str, partitions: int) -> dict[str, str]:
    return {f"{prefix}.replication.factor": "1", f"{prefix}.num.partitions": str(partitions)}


def broker_port(properties: str) -> int | None:
    """The port that `server_properties` wrote, None when there is none."""
    found = re.search(r"^advertised\.listeners=PLAINTEXT://[^:]+:(\d+)$", properties, re.MULTILINE)
    return int(found[1]) if found else None


def log4j2_xml() -> str:
    """A quiet log: warnings and errors in `kafka.log`, at most two files of 5 MB."""
    return """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="kafka.log" filePattern="kafka.log.%i">
      <PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="5 MB"/></Policies>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""
