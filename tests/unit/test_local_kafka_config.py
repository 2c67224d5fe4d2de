"""The parts of the local Kafka that need no Kafka: texts, Java, ports, records, the watchdog."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from events.errors import OperatorError
from events.local_kafka import LocalKafkaError, Status, status
from events.local_kafka.archive import ensure_archive
from events.local_kafka.cluster import Node, node_overrides, nodes_on_free_ports
from events.local_kafka.config import broker_port, server_properties
from events.local_kafka.errors import diagnose
from events.local_kafka.files import file_lock, make_folder, silent
from events.local_kafka.jar_lock import KAFKA_VERSION
from events.local_kafka.jars import JARS
from events.local_kafka.java import Java, find_java
from events.local_kafka.ports import free_port, is_free
from events.local_kafka.process import Process, spawn
from events.local_kafka.record import write_record
from events.local_kafka.runtime import Runtime
from events.local_kafka.storage import configure, last_port

ROOT = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
TAKEN = """\
2026-11-21T14:52:41,012 WARN QuorumController: [QuorumController id=1] Performing activation.
2026-11-21T14:52:41,273 ERROR DataPlaneAcceptor: Unable to start acceptor for PLAINTEXT
org.apache.kafka.common.KafkaException: Socket server failed to bind: Address already in use.
\tat org.apache.kafka.server.ServerSocketFactory.openServerSocket(ServerSocketFactory.java:56)
Caused by: java.net.BindException: Address already in use
\tat java.base/sun.nio.ch.Net.bind0(Native Method)
2026-11-21T14:52:41,281 ERROR BrokerServer: Fatal error during broker startup
"""
SETTING = """\
2026-11-21T14:52:41,273 ERROR Kafka$: Exiting Kafka due to fatal exception
a.ConfigException: Invalid value none for configuration offsets
\tat a.b(C.java:1)
"""
MEMORY = """\
Picked up JAVA_TOOL_OPTIONS: -Dx=y
#
# There is insufficient memory for the Java Runtime Environment to continue.
"""


def fake_java(folder: Path, answer: str) -> Path:
    """A `java` that answers this to `-version`."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---- configuration


def test_overrides_win_over_our_settings() -> None:
    lines = server_properties(1, 2, {"message.max.bytes": "1", "new": "2"}).splitlines()
    assert "message.max.bytes=1" in lines
    assert "new=2" in lines
    assert len({line.split("=")[0] for line in lines}) == len(lines)


def test_no_topic_is_larger_than_what_the_broker_takes() -> None:
    lines = dict(line.split("=", 1) for line in server_properties(1, 2).splitlines())
    for name in ("message.max.bytes", "replica.fetch.max.bytes"):
        assert int(lines[name]) > 9 * 1024 * 1024


def test_the_port_is_read_back_from_the_configuration(tmp_path: Path) -> None:
    assert last_port(tmp_path) is None
    configure(tmp_path, 20001, 20002, {})
    assert last_port(tmp_path) == 20001
    assert broker_port("listeners=PLAINTEXT://elsewhere\n") is None


def test_free_ports_lie_where_no_outgoing_connection_takes_them() -> None:
    assert all(20_000 <= free_port() < 32_000 for _ in range(50))


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_every_jar_is_pinned_once_and_kafka_is_among_them() -> None:
    coordinates = [jar.coordinate for jar in JARS]
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in coordinates
    assert any("log4j-slf4j-impl" in coordinate for coordinate in coordinates), "Kafka is mute"
    assert len({jar.file_name for jar in JARS}) == len(JARS)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in JARS)


# ---- errors


@pytest.mark.parametrize(
    ("log", "reason", "hint"),
    [
        (TAKEN, "java.net.BindException: Address already in use", "stop it or choose another"),
        (MEMORY, "There is insufficient memory for the Java Runtime", "heap_mb"),
        (SETTING, "a.ConfigException: Invalid value", ""),
        (
            "2026-11 ERROR S: gone\n\tat a.b(C.java:1)\n2026-11 WARN S: x",
            "2026-11 ERROR S: gone",
            "",
        ),
        ("2026-11 WARN S: slow", "2026-11 WARN S: slow", ""),
        ("WARNING: a deprecated method\n", "", ""),
        ("", "", ""),
    ],
)
def test_a_log_is_read_for_the_cause_not_for_its_last_line(
    log: str, reason: str, hint: str
) -> None:
    found = diagnose(log)
    assert found[0].startswith(reason)
    assert bool(found[0]) == bool(reason)
    assert hint in found[1]
    assert bool(found[1]) == bool(hint)


def test_what_goes_wrong_is_the_operators_to_mend() -> None:
    assert issubclass(LocalKafkaError, OperatorError)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalKafkaError, match=r"cannot make the folder .*file/data"):
        make_folder(tmp_path / "file" / "data")


# ---- Java


def test_an_installed_java_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    path = fake_java(tmp_path, "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    found = find_java(java_home="", search_path=str(path.parent))
    assert (found.path, found.version, found.major) == (path, "17.0.15", 17)


@pytest.mark.parametrize(
    "answer",
    [
        "echo 'openjdk version \"1.8.0_392\"' >&2",
        "echo 'openjdk version \"11.0.2\"' >&2",
        "echo 'No Java runtime present' >&2; exit 1",
        "echo nonsense",
    ],
)
def test_a_java_that_is_old_or_broken_is_passed_over(tmp_path: Path, answer: str) -> None:
    path = fake_java(tmp_path, answer)
    found = find_java(java_home=str(tmp_path), search_path=str(path.parent))
    assert found.path != path
    assert found.major >= 17


def test_java_home_comes_before_the_search_path(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "home", "echo 'openjdk version \"21\" 2023-09-19' >&2")
    other = fake_java(tmp_path / "other", "echo 'openjdk version \"25.0.1\"' >&2")
    assert find_java(java_home=str(home.parents[1]), search_path=str(other.parent)).path == home


def test_two_builds_of_one_version_have_archives_of_their_own(tmp_path: Path) -> None:
    def archive(answer: str) -> Path:
        return Runtime(Java(Path("java"), answer), tmp_path / "jars").archive

    one, other = archive('version "17.0.15" Debian'), archive('version "17.0.15" Temurin')
    assert one.name.startswith(f"kafka-{KAFKA_VERSION}-java-17.0.15-")
    assert one != other


def test_an_archive_is_used_only_when_it_could_be_made(tmp_path: Path) -> None:
    runtime = Runtime(Java(Path("java"), 'version "17.0.15"'), tmp_path / "jars")
    assert runtime.replaying() == ()
    runtime.archive.touch()
    assert runtime.replaying() == ()
    runtime.archive.write_text("classes")
    assert runtime.replaying() == (f"-XX:SharedArchiveFile={runtime.archive}",)


def test_a_java_that_cannot_make_an_archive_is_asked_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = fake_java(tmp_path / "java", "echo 'Error: no such class' >&2; exit 1")
    runtime = Runtime(Java(broken, 'version "17.0.15"'), tmp_path / "jars")
    ensure_archive(runtime, silent)
    assert "without a class archive" in caplog.text
    assert "Error: no such class" in caplog.text
    assert runtime.replaying() == ()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [tmp_path / "java"]

    caplog.clear()
    ensure_archive(runtime, silent)
    assert not caplog.text


# ---- records and locks


def test_a_record_of_a_process_that_is_no_kafka_is_not_believed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write_record(tmp_path, Status(bootstrap="h:1", pid=os.getpid(), version="4", started_at=now))
    assert status(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1', "\xff"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "kafka.json").write_text(text, encoding="latin-1")
    assert status(tmp_path) is None


def test_a_lock_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    waited: list[str] = []
    with file_lock(tmp_path / "lock", timeout_s=1, on_wait=lambda: None):
        with (
            pytest.raises(LocalKafkaError, match="another process has held"),
            file_lock(tmp_path / "lock", timeout_s=0.15, on_wait=lambda: waited.append("again")),
        ):
            pass
        assert waited
    with file_lock(tmp_path / "lock", timeout_s=0, on_wait=lambda: None):
        silent("taken", 1.0)


# ---- the watchdog


def end(process: Process) -> None:
    process.kill()
    assert is_gone(process.pid)


def test_a_watched_process_ends_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from events.local_kafka.process import spawn;"
        f"print(spawn({SLEEPER!r}, Path(sys.argv[1]), die_with_parent=True).pid, flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: is_gone(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_watched_process_ends_with_its_killed_watchdog(tmp_path: Path) -> None:
    process = spawn(SLEEPER, tmp_path, die_with_parent=True)
    process.handle.kill()
    process.handle.wait(10)
    wait_until(lambda: is_gone(process.pid))


def test_a_watched_process_survives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Process] = []
    thread = threading.Thread(
        target=lambda: started.append(spawn(SLEEPER, tmp_path, die_with_parent=True))
    )
    thread.start()
    thread.join()
    process = started[0]
    with pytest.raises(subprocess.TimeoutExpired):
        process.handle.wait(0.6)  # two looks of the watchdog
    assert not is_gone(process.pid)
    end(process)


def test_a_watchdog_hands_on_the_exit_code_and_what_was_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('last words'); raise SystemExit(7)"]
    process = spawn(command, tmp_path, die_with_parent=True)
    assert process.handle.wait(10) == 7
    assert "last words" in process.said()
    assert not process.alive


@pytest.mark.parametrize("die_with_parent", [True, False])
def test_a_process_that_ignores_a_request_to_stop_is_killed(
    tmp_path: Path, die_with_parent: bool
) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    process = spawn([sys.executable, "-c", code], tmp_path, die_with_parent=die_with_parent)
    wait_until(lambda: "deaf" in process.said())
    process.stop(0.2)
    assert is_gone(process.pid)


# ---- clusters


def test_a_single_node_keeps_one_copy_and_three_keep_three_of_which_one_may_be_away() -> None:
    alone, *_ = nodes_on_free_ports(1)
    three = nodes_on_free_ports(3)
    assert node_overrides(alone, [alone])["default.replication.factor"] == "1"
    found = node_overrides(three[2], three)
    assert (found["node.id"], found["default.replication.factor"]) == ("3", "3")
    assert {found[name] for name in found if name.endswith("min.isr")} == {"2"}
    assert found["min.insync.replicas"] == "2"
    assert found["controller.quorum.voters"].count("@") == 3


def test_clients_behind_a_proxy_are_told_its_port_and_the_others_the_nodes_own() -> None:
    node = Node(1, 20001, 20002, behind=(20003, 20004))
    found = node_overrides(node, [node])
    assert found["listeners"].split(",")[1] == "BEHIND://127.0.0.1:20003"
    told = found["advertised.listeners"].split(",")
    assert told == ["PLAINTEXT://127.0.0.1:20001", "BEHIND://127.0.0.1:20004"]


def test_the_ports_of_a_clusters_nodes_are_all_different() -> None:
    ports = [port for node in nodes_on_free_ports(5) for port in (node.port, node.controller_port)]
    assert len(set(ports)) == 10
