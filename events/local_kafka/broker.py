"""`LocalKafka`: start, stop, kill and restart a local Apache Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from events.local_kafka.archive import ensure_archive
from events.local_kafka.config import HOST
from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.files import Progress, file_lock, make_folder, silent
from events.local_kafka.jar_lock import KAFKA_VERSION
from events.local_kafka.jars import default_cache_dir
from events.local_kafka.launch import Launch, Launched, launch
from events.local_kafka.record import Status, remove_record, status, write_record
from events.local_kafka.runtime import HEAP_MB, Runtime, install


@dataclass(frozen=True)
class Options:
    """What is seldom changed.

    Args:
        timeout_s: How long Kafka may take until it answers (downloads not counted).
        heap_mb: Java's heap at most.
        cache_dir: Where downloads are kept; default: `CASEWORKS_CACHE_DIR`, else the user's cache.
        overrides: More lines for Kafka's `server.properties`; they win over ours.
    """

    timeout_s: float = 60.0
    heap_mb: int = HEAP_MB
    cache_dir: Path | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)


class LocalKafka:
    """A running local Apache Kafka; as a context manager it is stopped at the end.

    Made by `LocalKafka.start`. One thread at a time may use it.
    """

    def __init__(self, runtime: Runtime, plan: Launch, launched: Launched) -> None:
        self._runtime = runtime
        self._plan = plan
        self._process = launched.process

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        port: int = 0,
        die_with_parent: bool = True,
        progress: Progress = silent,
        options: Options | None = None,
    ) -> LocalKafka:
        """Start a broker that is its own controller; block until it answers.

        Args:
            data_dir: Where its data live; used again, it goes on with them.
            port: Where clients reach it, on the loopback; 0: the one it had before, else any.
            die_with_parent: Whether it ends when this process does, even by kill -9. If not, it
                stays until `stop(data_dir)`.
            progress: Called on this thread with what is being done and how far it is (0 to 1):
                the first start downloads 45 MB.
            options: What is seldom changed.

        Raises:
            LocalKafkaError: it cannot be had, started, or runs on this folder already. Nothing
                is left running.
        """
        options = options or Options()
        folder = make_folder(data_dir)
        runtime = install(make_folder(options.cache_dir or default_cache_dir()), progress)
        ensure_archive(runtime, progress)
        plan = Launch(
            folder,
            options.timeout_s,
            port=port,
            die_with_parent=die_with_parent,
            heap_mb=options.heap_mb,
            overrides=options.overrides,
        )
        message = f"starting Apache Kafka {KAFKA_VERSION}"
        progress(message, 0.0)
        launched = _launch_alone(runtime, plan)
        progress(message, 1.0)
        # A restart keeps the port that was picked.
        return cls(runtime, replace(plan, port=launched.port), launched)

    @property
    def data_dir(self) -> Path:
        """The folder with its data, `kafka.json` and `kafka.log`."""
        return self._plan.folder

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self._plan.port}"

    @property
    def pid(self) -> int:
        """Java's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.alive

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """End it in order, by force after `timeout_s`; does nothing if it has ended."""
        self._process.stop(timeout_s)
        remove_record(self.data_dir)

    def kill(self) -> None:
        """End it as kill -9 or a crash would; `restart` brings it back with all its data."""
        self._process.kill()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same data and port."""
        self.stop()
        self._process = _launch_alone(self._runtime, self._plan).process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _launch_alone(runtime: Runtime, plan: Launch) -> Launched:
    """Launch it, unless a broker runs on this folder or another process starts one."""
    lock = plan.folder / "start.lock"
    try:
        with file_lock(lock, timeout_s=plan.timeout_s, on_wait=lambda: None):
            running = status(plan.folder)
            if running is not None:
                raise LocalKafkaError(
                    f"Apache Kafka runs on {plan.folder} already, at {running.bootstrap}",
                    hint="use that one, or stop it first",
                )
            return _launch_recorded(runtime, plan)
    except OSError as error:
        raise LocalKafkaError(
            f"cannot run Apache Kafka on {plan.folder}: {error.strerror or error}",
            hint="make room there, or name a folder that this user may write in",
        ) from error


def _launch_recorded(runtime: Runtime, plan: Launch) -> Launched:
    launched = launch(runtime, plan)
    record = Status(
        bootstrap=f"{HOST}:{launched.port}",
        pid=launched.process.pid,
        version=KAFKA_VERSION,
        started_at=datetime.now(UTC),
    )
    try:
        write_record(plan.folder, record)
    except OSError:
        launched.process.kill()
        raise
    return launched
