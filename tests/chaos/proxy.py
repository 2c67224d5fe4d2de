"""A TCP proxy whose network can be taken away: paused, delayed, cut.

It runs an event loop on a thread of its own. Everything it can do to a connection happens to all
of them, both ways. Bytes are never lost while a connection lives, as with TCP: a pause holds them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any, Self

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
CALL_TIMEOUT_S = 10.0

Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Proxy:
    """Forwards ports to ports on the loopback; a context manager.

    Every method may be called from any thread and returns when it is so.

    Args:
        routes: `(listened, target)` for each port.
    """

    def __init__(self, routes: Iterable[tuple[int, int]]) -> None:
        self._routes = tuple(routes)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._delay_s = 0.0
        self.connections = 0
        """How many are open; those that wait for the end of a pause included."""

    def __enter__(self) -> Self:
        self._flowing.set()
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(self, *_reason: object) -> None:
        self._run(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()

    def pause(self) -> None:
        """Hold every byte; new connections are accepted and hear nothing: a black hole."""
        self._call(self._flowing.clear)

    def resume(self) -> None:
        """Let everything flow that was held."""
        self._call(self._flowing.set)

    def cut(self) -> None:
        """Reset every connection; new ones are taken at once."""
        self._call(self._reset)

    def delay(self, seconds: float) -> None:
        """Hold each chunk for so long, both ways; 0: none."""

        def change() -> None:
            self._delay_s = seconds

        self._call(change)

    def _call(self, change: Callable[[], None]) -> None:
        async def calling() -> None:
            change()

        self._run(calling)

    def _run(self, made: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(made(), self._loop).result(CALL_TIMEOUT_S)

    async def _listen(self) -> None:
        for listened, target in self._routes:
            self._servers.append(await asyncio.start_server(self._serving(target), HOST, listened))

    def _serving(self, target: int) -> Served:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open.add(writer)
            self.connections += 1
            try:
                await self._flowing.wait()
                await self._join(reader, writer, target)
            finally:
                self.connections -= 1
                self._open.discard(writer)
                await _ended(writer)

        return serve

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, target)
        except OSError:
            return
        self._open.add(far_writer)
        try:
            await asyncio.gather(
                self._forward(reader, far_writer), self._forward(far_reader, writer)
            )
        finally:
            self._open.discard(far_writer)
            await _ended(far_writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end is gone, which then ends both."""
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._flowing.set()
        self._reset()
        mine = asyncio.current_task()
        serving = [task for task in asyncio.all_tasks() if task is not mine]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _ended(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
