"""A Java, Kafka's jars, and the archive that makes them start quickly: one command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from events.local_kafka.files import Progress
from events.local_kafka.jar_lock import KAFKA_VERSION
from events.local_kafka.jars import ensure_jars
from events.local_kafka.java import Java, find_java

_AOT_SINCE = 25
HEAP_MB = 1024


@dataclass(frozen=True)
class Runtime:
    """What runs Kafka's classes."""

    java: Java
    jars: Path

    @property
    def archive(self) -> Path:
        """Where classes lie loaded and linked for this build of Java; see `archive.py`."""
        return self.jars.with_name(f"kafka-{KAFKA_VERSION}-java-{self.java.build}.archive")

    def command(
        self, main: str, *arguments: str, heap_mb: int = HEAP_MB, jvm_options: tuple[str, ...] = ()
    ) -> list[str]:
        """The command line that runs `main` in a data folder as the working directory.

        The just-in-time compiler is not capped: that would start sooner and run slower.
        """
        return [
            str(self.java.path),
            f"-Xms{min(heap_mb, 256)}m",
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            "-Djava.awt.headless=true",
            "-Djava.io.tmpdir=tmp",
            "-Dlog4j2.configurationFile=log4j2.xml",
            *jvm_options,
            "-cp",
            f"{self.jars}/*",
            main,
            *arguments,
        ]

    def replaying(self) -> tuple[str, ...]:
        """The options that use the archive, if there is one. A stale one is ignored by Java."""
        try:
            usable = self.archive.stat().st_size > 0
        except FileNotFoundError:
            usable = False
        option = "-XX:AOTCache" if self.java.major >= _AOT_SINCE else "-XX:SharedArchiveFile"
        return (f"{option}={self.archive}",) if usable else ()

    def recording(self, archive: Path) -> tuple[str, ...]:
        """The options that write an archive when Java ends."""
        aot = self.java.major >= _AOT_SINCE
        option = "-XX:AOTCacheOutput" if aot else "-XX:ArchiveClassesAtExit"
        return (f"{option}={archive}",)


def install(cache_dir: Path, progress: Progress) -> Runtime:
    """A runtime from this machine and the cache; downloads what is missing.

    Raises `LocalKafkaError` when there is no Java or no way to get the jars.
    """
    return Runtime(find_java(), ensure_jars(cache_dir, progress))
