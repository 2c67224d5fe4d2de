"""A whole system on this machine: Kafka, topics, and every role as a process of its own.

`up` keeps it on, `demo` plays on it, benchmarks measure it.
"""

from __future__ import annotations

import fcntl
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Self

from caseworks.compose import build
from caseworks.supervisor import TURN_S, Listener, Program, RestartPolicy, Supervisor
from events.errors import SetupError
from events.local_kafka import LocalKafka, Options, status

if TYPE_CHECKING:
    from caseworks.app import App
    from caseworks.compose import System
    from events.settings import Settings

READY_TIMEOUT_S = 120.0
STOP_MARGIN_S = 5.0
WITHOUT_APP = frozenset(("projection", "trace"))
"""Roles that need not know which workflows there are."""

Progress = Callable[[str, float], None]
"""What is being done, and how far it is (0 to 1)."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays: one process per coordinator and one per agent.

    Args:
        target: The app as `module:app`, for the children's command lines.
        coordinators: How many of them.
        log_level: The children's.
        log_dir: Where each child's stderr goes; without, to ours.
        http_port: The first child's, then one more each; 0: free ones.
        console: Whether there is a projection of the cases.
        api: Whether somebody serves it, with the REST API; needs the extra `api`.
        insight: Whether one counts what the others do.
        traces: Whether one exports cases as OpenTelemetry traces; needs the extra `otel`.
    """

    target: str
    coordinators: int = 1
    log_level: str = "warning"
    log_dir: Path | None = None
    http_port: int = 0
    console: bool = False
    api: bool = False
    insight: bool = False
    traces: bool = False


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the data folder for this namespace; the system lets go when the process ends.

    Raises `SetupError` when another one holds it: two coordinators under one name would fence each
    other for ever.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"up-{settings.namespace}.lock").open("a", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"cannot write to {folder}: {error.strerror}",
            hint="set CASEWORKS_DATA_DIR to a folder that can be written",
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"`caseworks up` runs on {folder} already",
                hint="use that one, or set CASEWORKS_DATA_DIR or CASEWORKS_NAMESPACE",
            ) from None
        yield


def api_port(settings: Settings) -> int:
    """The port for the API, the same after every restart: the usual one, else any that is free.

    Raises `SetupError` when the one that somebody set is taken.
    """
    asked = "api_port" in settings.model_fields_set
    for port in (settings.api_port,) if asked else (settings.api_port, 0):
        with socket.socket(socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((settings.api_host, port))
            except OSError:
                continue
            found: int = sock.getsockname()[1]
            return found
    raise SetupError(
        f"cannot listen on {settings.api_host}:{settings.api_port}",
        hint="set CASEWORKS_API_PORT to a free port, or to 0 for any; or caseworks up --no-console",
    )


class Stage:
    """A context manager: on leaving it, everything that it started is gone.

    Args:
        app: The app.
        settings: Where it runs; without bootstrap servers a local Kafka is reused or started.
        cast: Which processes.
        progress: Told of downloads and of Kafka's start.
        listener: Told what happens to the processes.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        cast: Cast,
        *,
        progress: Progress = lambda _what, _fraction: None,
        listener: Listener = lambda _change: None,
    ) -> None:
        self._app = app
        self._cast = cast
        self._progress = progress
        self._listener = listener
        self._ended = ExitStack()
        self._kafka: LocalKafka | None = None
        self.settings = settings
        self.api_port = 0
        """Where the API listens, once it was started."""

    def __enter__(self) -> Self:
        """Start Kafka if need be, make the topics, start the processes; wait for none of them.

        Raises `SetupError`; then nothing is left running.
        """
        with ExitStack() as started:
            started.enter_context(alone(self.settings))
            self._start_kafka(started)
            self.system: System = build(self._app, self.settings)
            self.system.ensure_topics()
            if self._cast.api:
                self.api_port = api_port(self.settings)
            self.supervisor = Supervisor(
                self._programs(), listener=self._listener, policy=RestartPolicy()
            )
            started.callback(self._stop_processes)
            self.supervisor.start()
            self._ended = started.pop_all()
        return self

    def __exit__(self, *_reason: object) -> None:
        self._ended.close()

    @property
    def bootstrap(self) -> str:
        """Where clients find the broker."""
        return self.settings.bootstrap_servers

    def wait_ready(self, stop: Event | None = None) -> None:
        """Wait until every process takes work. Raises `SetupError` naming who does not."""
        self.supervisor.wait_ready(READY_TIMEOUT_S, stop)

    def turn(self, timeout_s: float = TURN_S) -> None:
        """Keep everything running: call it over and over, from one thread."""
        self.supervisor.turn(timeout_s)
        if self._kafka is not None and not self._kafka.alive:
            self._progress("Apache Kafka died; starting it again", 0.0)
            self._kafka.restart()
            self._progress("Apache Kafka is back", 1.0)

    def _start_kafka(self, started: ExitStack) -> None:
        if self.settings.bootstrap_servers:
            return
        running = status(self.settings.data_dir)
        if running is not None:
            self._use(running.bootstrap)
            return
        self._kafka = started.enter_context(
            LocalKafka.start(
                self.settings.data_dir,
                progress=self._progress,
                options=Options(cache_dir=self.settings.cache_dir),
            )
        )
        self._use(self._kafka.bootstrap)

    def _use(self, bootstrap: str) -> None:
        self.settings = self.settings.model_copy(update={"bootstrap_servers": bootstrap})

    def _stop_processes(self) -> None:
        self.supervisor.stop(self.settings.drain_timeout_s + STOP_MARGIN_S)

    def _programs(self) -> list[Program]:
        roles: list[tuple[str, str, tuple[str, ...]]] = [
            (f"coordinator-{number}", "coordinator", ("--instance", str(number)))
            for number in range(self._cast.coordinators)
        ]
        roles += [(f"worker-{name}", "worker", ("--agent", name)) for name in self._app.agents]
        roles += [("insight", "insight", ())] if self._cast.insight else []
        roles += [("trace", "trace", ("export",))] if self._cast.traces else []
        roles += [("projection", "projection", ())] if self._cast.console else []
        roles += [("api", "api", ())] if self._cast.api else []
        return [self._program(number, *role) for number, role in enumerate(roles)]

    def _program(self, number: int, name: str, role: str, more: tuple[str, ...]) -> Program:
        cast = self._cast
        app = () if role in WITHOUT_APP else ("--app", cast.target)
        return Program(
            name=name,
            role=role,
            argv=(sys.executable, "-m", "caseworks", role, *more, *app),
            env={
                "CASEWORKS_BOOTSTRAP_SERVERS": self.bootstrap,
                "CASEWORKS_HTTP_PORT": str(cast.http_port + number if cast.http_port else 0),
                "CASEWORKS_LOG_LEVEL": cast.log_level,
                **({"CASEWORKS_API_PORT": str(self.api_port)} if role == "api" else {}),
            },
            log=cast.log_dir / f"{name}.log" if cast.log_dir else None,
            standby=role == "coordinator",
        )
