"""The local Apache Kafka as those need it who start, kill, restart and stop it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from events.local_kafka import KAFKA_VERSION, LocalKafka, LocalKafkaError, Options, status, stop
from events.local_kafka.config import server_properties
from events.local_kafka.errors import PortTakenError

ROOT = Path(__file__).parents[2]
BIG = 8 * 1024 * 1024 + 500_000
START = """
import sys
from pathlib import Path
from events.local_kafka import LocalKafka
kafka = LocalKafka.start(Path(sys.argv[1]), die_with_parent=sys.argv[2] == "dies")
print(kafka.pid, flush=True)
if sys.argv[2] == "dies":
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka.start(tmp_path_factory.mktemp("shared")) as running:
        yield running


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start_elsewhere(folder: Path, fate: str) -> tuple[subprocess.Popen[str], int]:
    """A process of its own that starts Kafka, and Kafka's process id."""
    starter = subprocess.Popen(
        [sys.executable, "-c", START, str(folder), fate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert starter.stdout is not None
    return starter, int(starter.stdout.readline())


def create_topic(bootstrap: str, name: str) -> None:
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": str(9 * 1024 * 1024)})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[name].result(10)


def produce(bootstrap: str, topic: str, value: bytes, compression: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": compression,
            "message.max.bytes": 9 * 1024 * 1024,
        }
    )
    producer.produce(topic, value)
    assert producer.flush(10) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[int]:
    """The sizes of the first messages of a topic, read by a consumer group."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, 15)
        return [len(message.value() or b"") for message in messages]
    finally:
        consumer.close()


def test_a_killed_broker_comes_back_with_its_data_at_its_address(tmp_path: Path) -> None:
    with LocalKafka.start(tmp_path / "a folder, with ünusual letters") as kafka:
        bootstrap = kafka.bootstrap
        create_topic(bootstrap, "t")
        produce(bootstrap, "t", os.urandom(BIG), "none")
        for compression in ("gzip", "snappy", "lz4", "zstd"):
            produce(bootstrap, "t", b"small" * 1000, compression)

        killed = kafka.pid
        kafka.kill()
        assert is_gone(killed)
        assert status(kafka.data_dir) is None
        kafka.restart()

        assert kafka.bootstrap == bootstrap
        assert consume(bootstrap, "t", 5) == [BIG, 5000, 5000, 5000, 5000]
    assert is_gone(kafka.pid)


def test_a_broker_dies_with_its_starter_even_by_kill_9(tmp_path: Path) -> None:
    starter, pid = start_elsewhere(tmp_path / "data", "dies")
    with starter:
        assert not is_gone(pid)
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: is_gone(pid))
    assert status(tmp_path / "data") is None


def test_a_detached_broker_outlives_its_starter_until_it_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    starter, pid = start_elsewhere(folder, "stays")
    with starter:
        assert starter.wait(20) == 0
    try:
        running = status(folder)
        assert running is not None
        assert running.pid == pid
        with pytest.raises(LocalKafkaError, match=f"already, at {running.bootstrap}"):
            LocalKafka.start(folder)
    finally:
        assert stop(folder)
    assert is_gone(pid)
    assert status(folder) is None
    assert not stop(folder)


def test_the_record_says_what_a_client_needs(kafka: LocalKafka) -> None:
    record = json.loads((kafka.data_dir / "kafka.json").read_text())
    assert record.keys() == {"bootstrap", "pid", "version", "started_at"}
    assert (record["bootstrap"], record["pid"]) == (kafka.bootstrap, kafka.pid)
    assert record["version"] == KAFKA_VERSION


def test_a_record_of_another_process_is_not_believed(kafka: LocalKafka, tmp_path: Path) -> None:
    record = (kafka.data_dir / "kafka.json").read_text()
    (tmp_path / "kafka.json").write_text(record)
    assert status(tmp_path) is None
    assert not stop(tmp_path)
    assert kafka.alive


def test_it_listens_on_the_loopback_only(kafka: LocalKafka) -> None:
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(kafka.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1", "127.0.0.1"]


def test_kafka_knows_every_setting_that_we_give_it(kafka: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    node = ConfigResource(ConfigResource.Type.BROKER, "1")
    entries = admin.describe_configs([node])[node].result(10)
    given = dict(line.split("=", 1) for line in server_properties(1, 2).splitlines())
    assert given.keys() <= entries.keys()
    addresses = {name for name in given if "listeners" in name or "voters" in name}
    same = {name: entries[name].value for name in given.keys() - addresses}
    assert same == {name: given[name] for name in same}


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is taken"):
            LocalKafka.start(tmp_path / "data", port=port)
    assert status(tmp_path / "data") is None


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "start.lock").mkdir()
    with pytest.raises(LocalKafkaError, match=f"cannot run Apache Kafka on {tmp_path}"):
        LocalKafka.start(tmp_path)


def test_a_broker_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    options = Options(overrides={"offsets.topic.num.partitions": "none"})
    with pytest.raises(LocalKafkaError) as caught:
        LocalKafka.start(tmp_path / "data", options=options)
    assert "Invalid value none for configuration offsets.topic.num.partitions" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
