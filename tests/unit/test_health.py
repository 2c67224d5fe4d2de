from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from events.errors import SetupError
from events.health import CONNECTIONS_MAX, HealthServer
from events.metrics import Prometheus


@contextmanager
def serving(
    ready: Callable[[], tuple[bool, str]] = lambda: (True, "ready"),
    metrics: Callable[[], bytes] = lambda: b"",
) -> Iterator[HealthServer]:
    with closing(HealthServer(ready, metrics)) as server:
        yield server


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_free_port_is_picked_and_told() -> None:
    with serving() as server:
        assert server.port > 0
        assert ask(server, "/healthz") == (200, "ok\n")


def test_readiness_follows_the_check_and_says_why() -> None:
    answers = [(False, "waiting for the broker"), (True, "ready")]
    with serving(ready=lambda: answers.pop(0)) as server:
        assert ask(server, "/readyz") == (503, "waiting for the broker\n")
        assert ask(server, "/readyz?probe=1") == (200, "ready\n")


def test_metrics_are_those_of_the_telemetry() -> None:
    telemetry = Prometheus()
    telemetry.count("caseworks_events_duplicate_total", 3)
    with serving(metrics=telemetry.text) as server:
        status, text = ask(server, "/metrics")
    assert status == 200
    assert "\ncaseworks_events_duplicate_total 3.0\n" in text


def test_a_check_that_breaks_is_not_ready() -> None:
    def broken() -> tuple[bool, str]:
        raise RuntimeError("no")

    with serving(ready=broken) as server:
        assert ask(server, "/readyz") == (503, "check failed\n")


def test_an_unknown_path_is_answered_with_the_known_ones() -> None:
    with serving() as server:
        assert ask(server, "/") == (404, "try /healthz /readyz /metrics\n")


def test_head_has_no_body_and_other_methods_are_refused() -> None:
    with serving() as server:
        assert ask(server, "/healthz", "HEAD") == (200, "")
        assert ask(server, "/healthz", "POST")[0] == 501


def test_a_taken_port_is_one_clear_error() -> None:
    with serving() as server, pytest.raises(SetupError, match="CASEWORKS_HTTP_PORT") as caught:
        HealthServer(lambda: (True, ""), lambda: b"", port=server.port)
    assert f"cannot listen on 127.0.0.1:{server.port}" in str(caught.value)


def test_an_address_of_another_machine_is_one_clear_error() -> None:
    with pytest.raises(SetupError, match=r"cannot listen on 192\.0\.2\.1:0"):
        HealthServer(lambda: (True, ""), lambda: b"", host="192.0.2.1")


def test_idle_connections_cannot_lock_a_probe_out() -> None:
    with serving() as server, ExitStack() as held:
        idle = [
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            for _ in range(CONNECTIONS_MAX)
        ]
        assert ask(server, "/healthz") == (200, "ok\n")
        assert idle[0].recv(1) == b""  # the oldest was ended


def test_a_closed_server_no_longer_listens() -> None:
    server = HealthServer(lambda: (True, ""), lambda: b"")
    server.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "/healthz")
