"""`/healthz`, `/readyz` and `/metrics` of one process, on a small HTTP server of threads.

Bounded: one request per connection, `CONNECTIONS_MAX` at once (a new one ends the oldest, so that
idle clients cannot lock a probe out), `TIMEOUT_S` of silence ends a connection.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from typing import Any

from events.errors import SetupError
from events.logs import get_logger

CONNECTIONS_MAX = 16
TIMEOUT_S = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], tuple[bool, str]]
"""Whether it is so, and a sentence why."""

log = get_logger(__name__)


def always() -> tuple[bool, str]:
    """The check of a process whose answering is proof enough."""
    return True, "ok"


class HealthServer:
    """Serves from its construction until `close`.

    Args:
        ready: Whether the process takes work now; must not block.
        metrics: The samples in the Prometheus text format.
        alive: Whether the process is worth keeping; a supervisor restarts it otherwise.
        host: The address to listen on.
        port: 0 picks a free one; `self.port` says which.

    Raises `SetupError` when the address cannot be had.
    """

    def __init__(
        self,
        ready: Check,
        metrics: Callable[[], bytes],
        *,
        alive: Check = always,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        pages: dict[str, Callable[[], _Page]] = {
            "/healthz": lambda: _checked(alive),
            "/readyz": lambda: _checked(ready),
            "/metrics": lambda: (HTTPStatus.OK, METRICS_TYPE, metrics()),
        }
        try:
            self._server = _Server(host, port, pages)
        except OSError as error:
            raise SetupError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="set CASEWORKS_HTTP_PORT to a free port, or to 0 for any",
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.1,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end open connections."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_all()
        self._thread.join()


_Page = tuple[HTTPStatus, str, bytes]


def _checked(check: Check) -> _Page:
    good, why = check()
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "text/plain; charset=utf-8", f"{why}\n".encode()


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 4 * CONNECTIONS_MAX

    def __init__(self, host: str, port: int, pages: dict[str, Callable[[], _Page]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self._open: dict[socket.socket, None] = {}  # oldest first
        self._lock = Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = None
            if len(self._open) > CONNECTIONS_MAX:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _end(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def end_all(self) -> None:
        with self._lock:
            for request in self._open:
                _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("health_connection_broke", client=client_address, error=repr(sys.exception()))


def _end(request: socket.socket) -> None:
    """Wake the thread that serves it; that thread closes it."""
    with suppress(OSError):  # it ended by itself
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "caseworks"
    sys_version = ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        status, content_type, body = self._page()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name http.server calls

    def _page(self) -> _Page:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            known = " ".join(self.server.pages)
            return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"try {known}\n".encode()
        try:
            return page()
        except Exception:
            log.exception("health_check_failed", path=self.path)
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", b"check failed\n"

    def log_message(self, format: str, *args: object) -> None:
        log.debug("health_request", line=format % args)
