"""`LocalCluster`: several nodes on this machine, to see what becomes of clients when one dies.

Each node is broker and controller, has a folder of its own below the cluster's, and dies with the
process that started it. `LocalKafka` is what everybody else uses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from events.local_kafka import ports
from events.local_kafka.archive import ensure_archive
from events.local_kafka.broker import Options
from events.local_kafka.config import HOST
from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.files import Progress, make_folder, silent
from events.local_kafka.jars import default_cache_dir
from events.local_kafka.process import Process, spawn, wait_until_ready
from events.local_kafka.runtime import Runtime, install
from events.local_kafka.storage import PROPERTIES, configure, format_once, new_cluster_id

NODE_HEAP_MB = 256
IN_SYNC_POLL_S = 0.1


@dataclass(frozen=True)
class Node:
    """Where a node of a cluster listens, on the loopback.

    Args:
        id: Its number.
        port: For clients and for the other nodes.
        controller_port: For the other nodes' controllers.
        behind: A second address for clients: the port where it listens, and the port that those
            clients are told, where somebody forwards to it (a proxy).
    """

    id: int
    port: int
    controller_port: int
    behind: tuple[int, int] | None = None


def nodes_on_free_ports(count: int) -> tuple[Node, ...]:
    """Nodes 1 to *count*, on ports that nobody listens on now."""
    taken: set[int] = set()

    def another() -> int:
        while (port := ports.free_port()) in taken:
            continue
        taken.add(port)
        return port

    return tuple(Node(number + 1, another(), another()) for number in range(count))


def node_overrides(node: Node, nodes: Sequence[Node]) -> dict[str, str]:
    """What a node's `server.properties` says beyond those of a single one: pure."""
    copies = str(min(3, len(nodes)))
    in_sync = "2" if len(nodes) >= 3 else "1"  # one of three may be away, as in production
    voters = ",".join(f"{each.id}@{HOST}:{each.controller_port}" for each in nodes)
    found = {
        "node.id": str(node.id),
        "controller.quorum.voters": voters,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "share.coordinator.state.topic.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    if node.behind is not None:
        found |= _listeners(node, *node.behind)
    return found


def _listeners(node: Node, listened: int, told: int) -> dict[str, str]:
    direct, behind = f"PLAINTEXT://{HOST}:{node.port}", f"BEHIND://{HOST}:"
    return {
        "listeners": f"{direct},{behind}{listened},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"{direct},{behind}{told}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
    }


class LocalCluster:
    """A running cluster; as a context manager it is stopped at the end.

    Made by `LocalCluster.start`. One thread at a time may use it.
    """

    def __init__(
        self, runtime: Runtime, folder: Path, nodes: Sequence[Node], options: Options
    ) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.data_dir = folder
        self._runtime = runtime
        self._options = options
        self._overrides: Mapping[int, Mapping[str, str]] = {
            node.id: {**node_overrides(node, nodes), **options.overrides} for node in nodes
        }
        self._processes: dict[int, Process] = {}
        self._cluster_id = ""

    @classmethod
    def start(
        cls,
        data_dir: Path,
        nodes: Sequence[Node],
        *,
        progress: Progress = silent,
        options: Options | None = None,
    ) -> LocalCluster:
        """Start every node; block until all of them answer and know each other.

        Args:
            data_dir: Where their data live, new or empty.
            nodes: Who they are; `nodes_on_free_ports` makes some.
            progress: Told of downloads.
            options: What is seldom changed; the heap is each node's, 256 MiB unless given.

        Raises:
            LocalKafkaError: it cannot be had or started. Nothing is left running.
        """
        options = options or Options(heap_mb=NODE_HEAP_MB)
        runtime = install(make_folder(options.cache_dir or default_cache_dir()), progress)
        ensure_archive(runtime, progress)
        cluster = cls(runtime, make_folder(data_dir), nodes, options)
        try:
            cluster._start_all()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def bootstrap(self) -> str:
        """`host:port,…` for clients."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes.values())

    @property
    def bootstrap_behind(self) -> str:
        """`host:port,…` for clients that are to stay on the second addresses."""
        told = [node.behind[1] for node in self.nodes.values() if node.behind is not None]
        return ",".join(f"{HOST}:{port}" for port in told)

    def pid(self, node: int) -> int:
        """Java's process id."""
        return self._processes[node].pid

    def alive(self, node: int) -> bool:
        """Whether it runs."""
        return node in self._processes and self._processes[node].alive

    def kill(self, node: int) -> None:
        """End a node as kill -9 or a crash would; `restart` brings it back with its data."""
        self._processes[node].kill()

    def restart(self, node: int, *, timeout_s: float = 20.0) -> None:
        """Stop a node if it runs, start it on its data, and block until the cluster has it."""
        self._processes[node].stop(timeout_s)
        self._spawn(self.nodes[node])
        self._wait_ready(node, frozenset({node}))

    def wait_in_sync(self, timeout_s: float) -> None:
        """Block until every partition has all its copies. Raises `LocalKafkaError` if it is late.

        Only then may the next node die without a pause in writing.
        """
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + timeout_s
        while behind := _out_of_sync(client):
            if time.monotonic() > deadline:
                raise LocalKafkaError(
                    f"{behind} partitions of {self.data_dir} lack copies after {timeout_s:.0f} s",
                    hint="start the node that is away",
                )
            time.sleep(IN_SYNC_POLL_S)

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """End every node in order, all at once, by force after `timeout_s`."""
        with ThreadPoolExecutor(max(1, len(self._processes))) as pool:
            list(pool.map(lambda process: process.stop(timeout_s), self._processes.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_all(self) -> None:
        """No node answers before most of their controllers have elected one of them."""
        self._cluster_id = new_cluster_id()
        for node in self.nodes.values():
            self._spawn(node)
        for number in self.nodes:
            self._wait_ready(number, frozenset(self.nodes))

    def _spawn(self, node: Node) -> None:
        folder = make_folder(self.data_dir / f"node-{node.id}")
        overrides = self._overrides[node.id]
        configure(folder, node.port, node.controller_port, overrides)
        self._cluster_id = format_once(
            self._runtime, folder, cluster_id=self._cluster_id, overrides=overrides
        )
        command = self._runtime.command(
            "kafka.Kafka",
            str(folder / PROPERTIES),
            heap_mb=self._options.heap_mb,
            jvm_options=self._runtime.replaying(),
        )
        self._processes[node.id] = spawn(command, folder, die_with_parent=True)

    def _wait_ready(self, number: int, nodes: frozenset[int]) -> None:
        process, port = self._processes[number], self.nodes[number].port
        wait_until_ready(process, port, self._cluster_id, self._options.timeout_s, nodes)


def _out_of_sync(client: AdminClient) -> int:
    """How many partitions lack a copy or a leader; one if nobody answers."""
    try:
        topics = client.list_topics(timeout=5).topics.values()
    except KafkaException:
        return 1
    partitions = [each for topic in topics for each in topic.partitions.values()]
    return sum(len(each.isrs) < len(each.replicas) or each.leader < 0 for each in partitions)
