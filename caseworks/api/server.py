"""The HTTP server: uvicorn, with a time limit for heads that come slowly and for stuck streams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from threading import Event
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from caseworks.api.door import Asgi
from caseworks.api.problems import Problem, answer_of
from events.errors import SetupError

if TYPE_CHECKING:
    from events.settings import Settings

HEAD_BYTES_MAX = 65_536
KEEP_ALIVE_S = 30
STOP_S = 0.05
"""How soon a stop is noticed."""


class WaryProtocol(HttpToolsProtocol):
    """What uvicorn leaves to proxies: ends a connection whose head is too slow, or too large."""

    head_timeout_s = 10.0
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head_timer is None:
                self._begin_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            told = f"at most {HEAD_BYTES_MAX} bytes of head are read"
            self._refuse(Problem("headers-too-large", told))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["drop"] = self.transport.abort  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True  # of the next request
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("bad-request", msg))

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._too_slow)

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        told = f"the head was not there within {self.head_timeout_s:g} s"
        self._refuse(Problem("too-slow", told))

    def _refuse(self, problem: Problem) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        answer = answer_of(problem)
        lines = [f"HTTP/1.1 {answer.status} {problem.kind.title}".encode()]
        lines += [name + b": " + value for name, value in answer.headers]
        lines += [b"connection: close", b"", answer.body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises `SetupError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise SetupError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="set CASEWORKS_API_PORT to a free port, or to 0 for any",
        ) from None
    return found


class Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the role has one."""

    def install_signal_handlers(self) -> None:
        """None."""

    def capture_signals(self) -> Any:
        """None."""
        return nullcontext()


def server_of(asgi: Asgi, settings: Settings) -> Server:
    """The server of an application."""
    protocol = type("Protocol", (WaryProtocol,), {"head_timeout_s": settings.api_header_timeout_s})
    config = uvicorn.Config(
        asgi,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        limit_concurrency=settings.api_connections_max,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
    )
    return Server(config)


def serve(asgi: Asgi, settings: Settings, listening: socket.socket, stop: Event) -> int:
    """Serve until *stop* is set; returns the exit code."""
    server = server_of(asgi, settings)

    async def run() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not stop.is_set() and not serving.done():  # noqa: ASYNC110 - a thread's event
            await asyncio.sleep(STOP_S)
        server.should_exit = True
        await serving

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(run())
    return 0 if server.started else 1
