"""Pins the jars of a Kafka version: `python -m events.local_kafka.relock 4.3.1`.

Resolves `org.apache.kafka:kafka_2.13` with everything it needs at run time, downloads it, and
writes coordinate, size and SHA-256 of every jar to `jar_lock.py`. For maintainers; needs network.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from events.local_kafka.files import write_atomically

_HEAD = '''\
"""The jars of Apache Kafka, pinned. Written by `python -m events.local_kafka.relock {version}`."""
# ruff: noqa: E501 - one jar a line

from __future__ import annotations

KAFKA_VERSION = "{version}"

LOCK = """\\
'''
# Kafka names its logging interface only; without this the broker would be mute.
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl"


def main(version: str) -> None:
    """Write `jar_lock.py` for this version of Kafka."""
    with tempfile.TemporaryDirectory() as folder:
        lines = sorted(_line(artifact) for artifact in _artifacts(version, Path(folder)))
    text = _HEAD.format(version=version) + "".join(lines) + '"""\n'
    write_atomically(Path(__file__).with_name("jar_lock.py"), text)


def _artifacts(version: str, repository: Path) -> list[Any]:
    from jgo.maven import MavenContext

    maven = MavenContext(repo_cache=repository)
    kafka = maven.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")
    inputs, needed = maven.resolver.resolve([kafka])
    log4j = next(found.version for found in needed if found.artifactId == "log4j-core")
    logging = maven.create_dependency(f"{_LOGGING}:{log4j}")
    return [found.artifact for found in (*inputs, *needed, logging)]


def _line(artifact: Any) -> str:
    content = artifact.resolve().read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
    return f"{coordinate} {len(content)} {digest}\n"


if __name__ == "__main__":
    main(sys.argv[1])
