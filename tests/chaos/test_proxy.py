from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from events.local_kafka.ports import free_port
from tests.chaos.proxy import HOST, Proxy

SOON_S = 0.15
WAIT_S = 5.0


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        while data := self.request.recv(1024):
            self.request.sendall(data)


@pytest.fixture
def server() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


@pytest.fixture
def through(server: int) -> Iterator[tuple[Proxy, Callable[[], socket.socket]]]:
    port = free_port()
    with Proxy([(port, server)]) as proxy:
        opened: list[socket.socket] = []

        def connect() -> socket.socket:
            opened.append(socket.create_connection((HOST, port), WAIT_S))
            return opened[-1]

        yield proxy, connect
        for each in opened:
            each.close()


def said(link: socket.socket, text: bytes = b"hello") -> bytes:
    link.sendall(text)
    return link.recv(1024)


def is_over(link: socket.socket) -> bool:
    """Whether the other end closed or reset it."""
    try:
        return link.recv(1) == b""
    except ConnectionError:
        return True


def test_it_forwards_both_ways(through: tuple[Proxy, Callable[[], socket.socket]]) -> None:
    _, connect = through
    assert said(connect()) == b"hello"


def test_a_pause_holds_every_byte_and_loses_none(
    through: tuple[Proxy, Callable[[], socket.socket]],
) -> None:
    proxy, connect = through
    link = connect()
    assert said(link) == b"hello"
    proxy.pause()
    link.sendall(b"held")
    link.settimeout(SOON_S)
    with pytest.raises(TimeoutError):
        link.recv(1024)
    link.settimeout(WAIT_S)
    proxy.resume()
    assert link.recv(1024) == b"held"


def test_while_paused_new_connections_hear_nothing(
    through: tuple[Proxy, Callable[[], socket.socket]],
) -> None:
    proxy, connect = through
    proxy.pause()
    link = connect()
    link.sendall(b"x")
    link.settimeout(SOON_S)
    with pytest.raises(TimeoutError):
        link.recv(1024)


def test_a_cut_ends_every_connection_and_takes_new_ones(
    through: tuple[Proxy, Callable[[], socket.socket]],
) -> None:
    proxy, connect = through
    link = connect()
    assert said(link) == b"hello"
    assert proxy.connections == 1
    proxy.cut()
    assert is_over(link)
    assert said(connect()) == b"hello"


def test_a_delay_is_added_both_ways(through: tuple[Proxy, Callable[[], socket.socket]]) -> None:
    proxy, connect = through
    link = connect()
    proxy.delay(0.1)
    begun = time.monotonic()
    assert said(link) == b"hello"
    assert time.monotonic() - begun >= 0.2


def test_a_target_that_is_away_ends_the_connection() -> None:
    port = free_port()
    with Proxy([(port, free_port())]), socket.create_connection((HOST, port), WAIT_S) as link:
        assert is_over(link)
