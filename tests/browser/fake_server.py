"""A server that looks like the API to a console: canned views, a stream that tests feed, and a
memory of what was asked. It serves the console's own files with the strictest policy there is."""

from __future__ import annotations

import json
import mimetypes
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests.browser.views import everything

CONSOLE = Path(str(files("caseworks").joinpath("console")))
API = "/api/v1"
POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEARTBEAT_S = 0.5
STREAM_QUEUE_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is a problem."""

    status: int
    title: str
    detail: str = ""


@dataclass(slots=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    key: str


@dataclass(slots=True)
class Fake:
    """What the server says, as a test wants it; and what it was asked."""

    views: dict[str, Any] = field(default_factory=everything)
    key: str = ""
    """Required when not empty."""
    posts: dict[str, Any] = field(default_factory=dict)
    """Answers of POST by path; a `Refusal` is one too. Others are answered with `{}`."""
    asked: list[Asked] = field(default_factory=list)
    streams: list[queue.Queue[bytes | None]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    """The `Last-Event-ID` of each stream that was opened."""
    streaming: bool = True
    url: str = ""

    def push(self, event: str, data: Any, event_id: int = 0) -> None:
        """Send one event to every open stream."""
        mark = f"id: {event_id}\n" if event_id else ""
        self.push_raw(f"event: {event}\n{mark}data: {json.dumps(data)}\n\n".encode())

    def push_raw(self, chunk: bytes) -> None:
        for stream in list(self.streams):
            stream.put(chunk)

    def hang_up(self) -> None:
        """End every stream."""
        for stream in list(self.streams):
            stream.put(None)

    def posted(self, path: str) -> list[Any]:
        """The bodies of POSTs to a path, in order."""
        return [it.body for it in self.asked if it.method == "POST" and it.path == path]


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[Fake]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        if not split.path.startswith(API):
            self._file(split.path)
            return
        path, query = split.path.removeprefix(API), dict(parse_qsl(split.query))
        self._note("GET", path, query, None)
        if self._is_stranger():
            self._refuse(Refusal(401, "Say who you are", "The key is unknown."))
        elif path == "/stream":
            self._stream()
        else:
            self._view(path, query)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path.removeprefix(API)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
        self._note("POST", path, {}, body)
        answer = self.fake.posts.get(path, {})
        if callable(answer):
            answer = answer(body)
        if isinstance(answer, Refusal):
            self._refuse(answer)
        else:
            self._send(200, "application/json", json.dumps(answer).encode())

    def _is_stranger(self) -> bool:
        key = self.fake.key
        return bool(key) and self.headers.get("Authorization") != f"Bearer {key}"

    def _note(self, method: str, path: str, query: dict[str, str], body: Any) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.fake.asked.append(Asked(method, path, query, body, key))

    def _view(self, path: str, query: dict[str, str]) -> None:
        views = self.fake.views
        general = re.sub(r"^/(cases|letters)/.+$", r"/\1/{id}", path)
        general = re.sub(r"^/agents/[^/]+/", "/agents/{id}/", general)
        answer = views.get(path, views.get(general))
        if path == "/budgets" and isinstance(answer, dict):
            answer = {**answer, "by": query.get("by", "agent")}
        if answer is None:
            answer = Refusal(404, "There is no such thing", f"{path} was never there.")
        if isinstance(answer, Refusal):
            self._refuse(answer)
        else:
            self._send(200, "application/json", json.dumps(answer).encode())

    def _refuse(self, refusal: Refusal) -> None:
        problem = {"status": refusal.status, "title": refusal.title, "detail": refusal.detail}
        self._send(refusal.status, "application/problem+json", json.dumps(problem).encode())

    def _stream(self) -> None:
        if not self.fake.streaming:
            self._refuse(Refusal(503, "It cannot be done now"))
            return
        self.fake.resumed.append(self.headers.get("Last-Event-ID", ""))
        mine: queue.Queue[bytes | None] = queue.Queue(STREAM_QUEUE_MAX)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.fake.streams.append(mine)
        with suppress(OSError):
            self.wfile.write(b": hello\n\n")
            while (chunk := _next(mine)) is not None:
                self.wfile.write(chunk)
        self.fake.streams.remove(mine)

    def _file(self, path: str) -> None:
        wanted = CONSOLE / (path.lstrip("/") or "index.html")
        if not wanted.is_file() or ".." in path:
            self._send(404, "text/plain", b"no such file")
            return
        kind = mimetypes.guess_type(wanted.name)[0] or "application/octet-stream"
        self._send(200, kind, wanted.read_bytes())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)


def _next(mine: queue.Queue[bytes | None]) -> bytes | None:
    try:
        return mine.get(timeout=HEARTBEAT_S)
    except queue.Empty:
        return b": still here\n\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error of ours."""


@contextmanager
def serving(port: int = 0) -> Iterator[Fake]:
    """A fake server on a loopback port; `url` says where."""
    fake = Fake()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with _Server(("127.0.0.1", port), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield fake
        finally:
            fake.hang_up()
            server.shutdown()
            thread.join()
