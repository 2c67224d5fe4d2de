"""The API over real sockets: slow clients, large bodies, dropped streams."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from caseworks.api.app import create_api
from caseworks.api.server import Server, listen, server_of
from caseworks.compose import build
from events.memory import MemoryBroker
from events.settings import Settings
from tests.unit.api_world import FakeReader, case, shop, until

pytestmark = pytest.mark.anyio
MB = 1024 * 1024
LAMP = json.dumps({"item": "lamp", "price": 40})
EVENT = (
    "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: order.placed\r\n"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Running:
    """A server on a port of its own."""

    port: int
    reader: FakeReader
    server: Server
    streams: Callable[[], int]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def running(**given: Any) -> AsyncIterator[Running]:
    counts = dict.fromkeys(
        ("inbox_partitions", "events_partitions", "tasks_partitions", "results_partitions"), 2
    )
    settings = Settings(**{**counts, "drain_timeout_s": 1, **given})
    system = build(shop(), settings, broker=MemoryBroker())
    system.ensure_topics()
    reader = FakeReader()
    api = create_api(system, reader)
    with listen("127.0.0.1", 0) as listening:
        server = server_of(api.asgi, settings)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.005)
        try:
            yield Running(listening.getsockname()[1], reader, server, lambda: api.hub.open)
        finally:
            server.should_exit = True
            await serving


async def answer_to(stream: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection."""
    async with asyncio.timeout(10):
        head = (await stream.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        body = await stream.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


async def ends(stream: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection, whatever it says before that."""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            while await stream.read(65_536):
                pass
    return True


async def test_an_event_is_accepted_over_a_connection_that_is_kept() -> None:
    async with running() as api:
        source, sink = await api.connect()
        for _ in range(3):
            sink.write(f"{EVENT}Content-Length: {len(LAMP)}\r\n\r\n{LAMP}".encode())
            status, headers, body = await answer_to(source)
            assert (status, json.loads(body)["id"]) == (202, "1")
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
        sink.close()


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() -> None:
    async with running() as api:
        source, sink = await api.connect()
        sink.write(f"{EVENT}Content-Length: {50 * MB}\r\nExpect: 100-continue\r\n\r\n".encode())
        status, headers, body = await answer_to(source)

        assert status == 413
        assert headers["connection"] == "close"
        assert json.loads(body)["type"] == "urn:caseworks:problem:too-large"
        sink.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_50_mb_is_refused_while_it_is_sent(chunked: bool) -> None:
    async with running() as api:
        source, sink = await api.connect()
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {50 * MB}"
        sink.write(f"{EVENT}{length}\r\n\r\n".encode())
        piece = b" " * 65_536
        framed = b"10000\r\n" + piece + b"\r\n" if chunked else piece
        sent = 0

        async def send() -> None:
            nonlocal sent
            with suppress(ConnectionError):
                while sent < 50 * MB:
                    sink.write(framed)
                    await sink.drain()
                    sent += len(piece)

        sending = asyncio.create_task(send())
        status, _, _ = await answer_to(source)
        assert status == 413
        await ends(source)
        await sending
        sink.close()


async def test_a_head_that_comes_too_slowly_ends_the_connection() -> None:
    async with running(api_header_timeout_s=0.2) as api:
        source, sink = await api.connect()
        sink.write(b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n")
        begun = time.monotonic()
        status, _, body = await answer_to(source)

        assert (status, json.loads(body)["status"]) == (408, 408)
        assert time.monotonic() - begun < 5
        assert await ends(source)
        sink.close()


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with running(api_header_timeout_s=0.2) as api:
        source, sink = await api.connect()

        assert await ends(source)
        sink.close()


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async with running(api_body_timeout_s=0.2) as api:
        source, sink = await api.connect()
        sink.write(f"{EVENT}Content-Length: 100\r\n\r\n{{".encode())
        status, _, _ = await answer_to(source)

        assert status == 408
        assert await ends(source)
        sink.close()


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with running() as api:
        source, sink = await api.connect()
        sink.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(ConnectionError):
            for _ in range(100):
                sink.write(b"X-A: " + b"a" * 1000 + b"\r\n")
                await sink.drain()
        status, _, _ = await answer_to(source)

        assert status == 431
        sink.close()


async def test_what_is_no_http_gets_a_problem() -> None:
    async with running() as api:
        source, sink = await api.connect()
        sink.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        status, headers, _ = await answer_to(source)

        assert (status, headers["content-type"]) == (400, "application/problem+json")
        sink.close()


async def opened(api: Running, topics: str = "cases") -> tuple[Any, Any]:
    source, sink = await api.connect()
    sink.write(f"GET /api/v1/stream?topics={topics} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head = await source.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    return source, sink


async def test_a_stream_tells_changes_until_its_client_goes() -> None:
    async with running() as api:
        source, sink = await opened(api)
        await until(lambda: api.streams() == 1)
        await asyncio.sleep(0)  # the hub asks where it begins
        told = asyncio.create_task(source.readuntil(b"event: case"))
        number = 0
        async with asyncio.timeout(10):
            while not told.done():
                number += 1
                api.reader.change(case(f"c{number}"))
                await asyncio.wait([told], timeout=0.1)
        sink.close()
        await until(lambda: api.streams() == 0)


async def test_a_client_that_does_not_read_loses_its_stream() -> None:
    async with running(api_stream_queue_max=2, api_stream_send_timeout_s=0.3) as api:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(listening, ("127.0.0.1", api.port))
        await loop.sock_sendall(
            listening, b"GET /api/v1/stream?topics=cases HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        await until(lambda: api.streams() == 1)
        number = 0
        async with asyncio.timeout(20):
            while api.streams():
                number += 1
                api.reader.change(case(f"c{number}", subject="x" * 500_000))
                await asyncio.sleep(0.01)
        await until(lambda: not api.server.server_state.connections)
        listening.close()


async def test_a_stream_too_many_is_told_to_come_later() -> None:
    async with running(api_streams_max=2) as api:
        kept = [await opened(api) for _ in range(2)]
        source, sink = await api.connect()
        sink.write(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers, _ = await answer_to(source)

        assert (status, headers["retry-after"]) == (503, "30")
        for _, each in (*kept, (source, sink)):
            each.close()


async def test_streams_end_when_the_server_stops() -> None:
    async with running() as api:
        source, sink = await opened(api)
    assert await ends(source)
    sink.close()
