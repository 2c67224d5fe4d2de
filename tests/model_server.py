"""A language model's HTTP server for tests: says in turn what the test wrote down for it.

It speaks the chat completions of OpenAI on loopback, answers each request with the next entry of
its script, and keeps what was asked. A request beyond the script is answered with 418, so that a
test which calls too often fails instead of hanging.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

SILENT_S_MAX = 30.0
"""How long a silent answer waits at most for the server's end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Make one with the functions below."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    """The `Content-Length` that is claimed; the true one when left out."""
    silent: bool = False
    """Say nothing until the server ends."""


def says(
    text: str | None, *, tokens_in: int = 20, tokens_out: int = 10, finish: str = "stop"
) -> Answer:
    """The model's text; `finish="length"` is one that was cut."""
    return _completion({"role": "assistant", "content": text}, finish, (tokens_in, tokens_out))


def calls(*tools: tuple[str, str], tokens_in: int = 20, tokens_out: int = 10) -> Answer:
    """The model asks for tools, each by name and arguments as JSON."""
    asked = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(tools)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": asked}
    return _completion(message, "tool_calls", (tokens_in, tokens_out))


def refuses(status: int, message: str = "no", **headers: str) -> Answer:
    """An error as OpenAI tells it; `retry_after="2"` is the header `retry-after: 2`."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": None}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body).encode(), status, named)


def sends(body: bytes) -> Answer:
    """Whatever bytes, as if they were a completion."""
    return Answer(body)


def breaks_off(text: str) -> Answer:
    """A good answer that ends in the middle of its body."""
    whole = says(text).body
    return Answer(whole[: len(whole) // 2], announced=len(whole))


def stays_silent() -> Answer:
    """The connection stands and nothing comes."""
    return Answer(b"", silent=True)


class ModelServer:
    """Serves its script from entering `with` to leaving it; `api_base` is what clients are given.

    `requests` holds the decoded bodies in the order of their arrival.
    """

    def __init__(self, *script: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self._script = list(script)
        self._ending = Event()
        self._connections: list[socket] = []
        server = self

        class Handler(_Handler):
            model = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def api_base(self) -> str:
        """The URL before `/chat/completions`."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def connections(self) -> int:
        """How many clients connected so far."""
        return len(self._connections)

    def next_answer(self, request: dict[str, Any]) -> Answer:
        """Keep the request, and give what the script has for it."""
        self.requests.append(request)
        if len(self.requests) > len(self._script):
            return refuses(418, f"the script has {len(self._script)} answers")
        return self._script[len(self.requests) - 1]

    def connected(self, connection: socket) -> None:
        """A client connected; its connection ends with the server."""
        self._connections.append(connection)

    def wait_for_end(self) -> None:
        """Block until the server ends."""
        self._ending.wait(SILENT_S_MAX)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for connection in self._connections:
            with suppress(OSError):  # the client was faster
                connection.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    model: ModelServer

    def setup(self) -> None:
        super().setup()
        self.model.connected(self.request)

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        answer = self.model.next_answer(json.loads(self.rfile.read(size)))
        if answer.silent:
            self.model.wait_for_end()
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("content-type", "application/json")
        announced = len(answer.body) if answer.announced is None else answer.announced
        self.send_header("content-length", str(announced))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = announced != len(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test reads `requests`."""


def _completion(message: dict[str, Any], finish: str, tokens: tuple[int, int]) -> Answer:
    tokens_in, tokens_out = tokens
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "served-by-a-test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }
    return Answer(json.dumps(body).encode())
