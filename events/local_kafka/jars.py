"""Kafka's jars: downloaded once, checked against the lock, kept by version.

`jgo` finds and downloads them, as set up in the user's `jgo.conf` (mirrors) and environment
(proxies, certificates). Because the lock names every jar, no dependency has to be resolved: that
saves ten seconds of the first run and makes it the same jars everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from events.local_kafka.download import Jar, download
from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.files import Progress, file_lock
from events.local_kafka.jar_lock import KAFKA_VERSION, LOCK
from events.settings import load_settings

LOCK_TIMEOUT_S = 600


def read_lock(text: str) -> tuple[Jar, ...]:
    """The jars of a lock: `group:artifact:version size sha256` a line."""
    lines = (line.split() for line in text.splitlines())
    return tuple(Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in lines)


JARS = read_lock(LOCK)


def default_cache_dir() -> Path:
    """`CASEWORKS_CACHE_DIR`, else `caseworks` in the user's cache folder."""
    chosen = load_settings().cache_dir
    if chosen:
        return chosen
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "caseworks"
    try:
        return Path.home() / ".cache" / "caseworks"
    except RuntimeError as error:
        raise LocalKafkaError(
            "this user has no home folder to keep downloads in", hint="set CASEWORKS_CACHE_DIR"
        ) from error


def ensure_jars(
    cache_dir: Path,
    progress: Progress,
    *,
    jars: Sequence[Jar] = JARS,
    repositories: Mapping[str, str] | None = None,
) -> Path:
    """The folder with Kafka's jars, filled first if need be.

    Safe when several processes start at once: one downloads, the others wait for it. What was
    downloaded before an interruption is kept. Blocks for as long as the download takes.

    Args:
        cache_dir: Where they are kept; exists.
        progress: Called with how much has come.
        jars: What the folder must hold.
        repositories: Name to address; default: those of the user's `jgo.conf`, then jgo's own.

    Raises:
        LocalKafkaError: no network, a wrong checksum, or no room.
    """
    folder = cache_dir / f"kafka-{KAFKA_VERSION}"
    if _is_complete(folder, jars):
        return folder
    message = f"downloading Apache Kafka {KAFKA_VERSION}"
    try:
        with file_lock(
            cache_dir / "download.lock",
            timeout_s=LOCK_TIMEOUT_S,
            on_wait=lambda: progress(f"{message} (another process is at it)", 0.0),
        ):
            if not _is_complete(folder, jars):
                download(jars, folder, repositories, lambda part: progress(message, part))
    except OSError as error:
        raise LocalKafkaError(
            f"cannot keep Apache Kafka in {cache_dir}: {error.strerror or error}",
            hint="set CASEWORKS_CACHE_DIR to a folder with 200 MB of room",
        ) from error
    return folder


def _is_complete(folder: Path, jars: Sequence[Jar]) -> bool:
    sizes = {entry.name: entry.stat().st_size for entry in folder.glob("*.jar")}
    return all(sizes.get(jar.file_name) == jar.size for jar in jars)
