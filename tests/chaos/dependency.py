"""A dependency on loopback: answers HTTP requests, or 503 while it is down, and counts them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

START_S = 10.0
LINE_BYTES_MAX = 4096
_HEAD = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Dependency:
    """A server on a thread of its own; `calls` may be read, and `down` set, from any thread."""

    def __init__(self, work_s: float = 0.0) -> None:
        """*work_s*: how long it takes over a request."""
        self.down = False
        self.calls: list[tuple[float, str]] = []
        """When (monotonic), and the path that was asked for."""
        self.port = 0
        self._work_s = work_s
        self._ready = Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="dependency", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_S):
            raise TimeoutError("the dependency does not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def between(self, begin: float, end: float) -> list[float]:
        """When it was called within a span of the monotonic clock."""
        return [at for at, _ in list(self.calls) if begin <= at < end]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.calls.append((time.monotonic(), head.split(b" ", 2)[1].decode()))
            down = self.down
            if self._work_s and not down:
                await asyncio.sleep(self._work_s)
            writer.write(_HEAD % (b"503 Service Unavailable" if down else b"204 No Content"))
            await writer.drain()
        writer.close()


async def ask(address: str, path: str) -> int:
    """One request; returns its status. Raises `OSError`."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await writer.drain()
        return int((await reader.readline()).split(b" ")[1])
    finally:
        writer.close()
