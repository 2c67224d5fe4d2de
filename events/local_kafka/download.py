"""Getting jars through jgo: in parallel, checked, and kept when interrupted."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from events.local_kafka.certificates import fetch_trusting_the_machine, root_cause
from events.local_kafka.errors import LocalKafkaError
from events.local_kafka.jar_lock import KAFKA_VERSION

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

PARALLEL_DOWNLOADS = 8
REQUEST_TIMEOUT_S = 10


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    coordinate: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """As it lies in the folder: `kafka-clients-4.3.1.jar`."""
        _, name, version = self.coordinate.split(":")
        return f"{name}-{version}.jar"


def download(
    jars: Sequence[Jar],
    folder: Path,
    repositories: Mapping[str, str] | None,
    progress: Callable[[float], None],
) -> None:
    """Make `folder` hold these jars; it appears, or is replaced, as a whole.

    The caller holds a lock. Calls `progress` on this thread.

    Raises:
        LocalKafkaError: they cannot be had.
        OSError: they cannot be written.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    arrived = partial / "jars"
    arrived.mkdir(parents=True, exist_ok=True)
    meter = _Meter(jars)
    try:
        fetch_trusting_the_machine(
            lambda: _fetch_all(
                _maven(partial / "repository", repositories, meter), arrived, meter, progress
            )
        )
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # our own files; the client's errors carry no number
        raise LocalKafkaError(
            f"Apache Kafka {KAFKA_VERSION} could not be downloaded: {root_cause(error)}",
            hint="the first start needs the network, or CASEWORKS_CACHE_DIR naming a copy of the "
            "cache of a machine that had it; or name a running Kafka in "
            "CASEWORKS_BOOTSTRAP_SERVERS",
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    arrived.rename(folder)
    shutil.rmtree(partial, ignore_errors=True)


class _Meter:
    """How many bytes of each jar have come; each jar is counted by one thread."""

    def __init__(self, jars: Sequence[Jar]) -> None:
        self.jars = jars
        self._received = {jar.file_name: 0 for jar in jars}

    @contextmanager
    def __call__(self, file_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """The form in which jgo reports a download."""
        self._received[file_name] = 0

        def add(count: int) -> None:
            self._received[file_name] += count

        yield add

    def complete(self, jar: Jar) -> None:
        self._received[jar.file_name] = jar.size

    @property
    def fraction(self) -> float:
        return sum(self._received.values()) / sum(jar.size for jar in self.jars)


def _fetch_all(
    maven: MavenContext, into: Path, meter: _Meter, progress: Callable[[float], None]
) -> None:
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS, thread_name_prefix="jars") as pool:
        pending = {pool.submit(_fetch, maven, jar, into, meter) for jar in meter.jars}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress(meter.fraction)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@retry(
    retry=retry_if_exception_type((OSError, RuntimeError)),
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.25, max=4),
    reraise=True,
)
def _fetch(maven: MavenContext, jar: Jar, into: Path, meter: _Meter) -> None:
    target = into / jar.file_name
    if not target.exists():
        artifact = _artifact(maven, jar)
        cached = artifact.cached_path
        assert cached is not None, "the context has a repository cache"
        try:
            source = artifact.resolve()
            found = hashlib.sha256(source.read_bytes()).hexdigest()
            if found != jar.sha256:
                raise OSError(f"{jar.coordinate} is not what the lock names: SHA-256 {found}")
            source.replace(target)
        finally:
            # What an interrupted download left would be taken for the jar by the next try.
            cached.unlink(missing_ok=True)
    meter.complete(jar)


def _artifact(maven: MavenContext, jar: Jar) -> Artifact:
    group, name, version = jar.coordinate.split(":")
    return maven.project(group, name).at_version(version).artifact()


def _maven(cache: Path, repositories: Mapping[str, str] | None, meter: _Meter) -> MavenContext:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    # The checksum of the lock decides; jgo would print what it thinks of the repository's.
    logging.getLogger("jgo").addHandler(logging.NullHandler())
    resolver = PythonResolver(progress_callback=meter)
    maven = MavenContext(resolver=resolver, repo_cache=cache, timeout=REQUEST_TIMEOUT_S)
    if repositories is not None:
        maven.remote_repos = dict(repositories)
    else:
        own = GlobalSettings.load().repositories
        # The user's are asked first, and one of the same name replaces the usual one.
        maven.remote_repos = {**own, **maven.remote_repos, **own}
    return maven
