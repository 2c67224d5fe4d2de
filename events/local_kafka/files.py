"""Files that several processes use at once: a lock, and writing without a half-written state."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from events.local_kafka.errors import LocalKafkaError

Progress = Callable[[str, float], None]
"""Takes what is being done and how far it is (0 to 1); called on the caller's thread."""


def silent(message: str, fraction: float) -> None:
    """Report no progress."""


@contextmanager
def file_lock(path: Path, *, timeout_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on `path` (released by the system if this process is killed).

    Calls `on_wait` while another process holds it; raises `LocalKafkaError` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with path.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LocalKafkaError(
                        f"another process has held {path} for {timeout_s:.0f} s",
                        hint="wait for it or stop it",
                    ) from None
                on_wait()
                time.sleep(0.1)
        yield


def make_folder(path: Path) -> Path:
    """The folder as a real path, made if need be. Raises `LocalKafkaError` if that is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalKafkaError(
            f"cannot make the folder {path}: {error.strerror}",
            hint="set CASEWORKS_DATA_DIR and CASEWORKS_CACHE_DIR to folders that can be written",
        ) from error
    return path.resolve()


def write_atomically(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old text or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
