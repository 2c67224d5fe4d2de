"""Three local nodes as those need them who kill one."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from events.local_kafka.cluster import LocalCluster, nodes_on_free_ports

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster.start(tmp_path_factory.mktemp("cluster"), nodes_on_free_ports(3)) as running:
        yield running


def write(cluster: LocalCluster, topic: str, n: int) -> list[object]:
    """Acknowledged by all in sync; returns the errors."""
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "log_level": 0})
    for number in range(n):
        producer.produce(topic, str(number), on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    return [error for error in errors if error is not None]


def test_one_of_three_nodes_may_die_and_comes_back_with_its_copies(cluster: LocalCluster) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("t", 3, -1)])["t"].result(15)
    cluster.wait_in_sync(30)
    assert write(cluster, "t", 30) == []

    killed = cluster.pid(2)
    cluster.kill(2)
    assert not cluster.alive(2)
    assert not psutil.pid_exists(killed)
    assert write(cluster, "t", 30) == []

    cluster.restart(2)
    cluster.wait_in_sync(60)
    partitions = admin.list_topics("t", timeout=10).topics["t"].partitions.values()
    assert [sorted(each.isrs) for each in partitions] == [[1, 2, 3]] * 3


def test_every_node_lives_in_its_own_folder_and_dies_with_the_cluster(
    cluster: LocalCluster,
) -> None:
    commands = {node: psutil.Process(cluster.pid(node)).cwd() for node in cluster.nodes}
    assert commands == {node: str(cluster.data_dir / f"node-{node}") for node in (1, 2, 3)}
