"""What can go wrong with a local Kafka, and what its operator should do about it."""

from __future__ import annotations

import re
from itertools import pairwise

from events.errors import SetupError


class LocalKafkaError(SetupError):
    """The local Apache Kafka could not be installed, started or stopped."""


class PortTakenError(LocalKafkaError):
    """Somebody else listens on the port."""


_CAUSE = "Caused by: "
_LOGGED = re.compile(r"\d{4}-")

# What the log of a broker that died says -> what helps. The first that is found counts.
_HINTS = (
    ("Address already in use", "something else listens on that port: stop it or choose another"),
    ("No space left on device", "the disk is full: make room"),
    ("insufficient memory", "not enough free memory: give Kafka a smaller heap (heap_mb)"),
    ("OutOfMemoryError", "Kafka's heap is too small: raise heap_mb"),
    ("Failed to acquire lock", "another Kafka uses this folder: stop it first"),
    ("AccessDeniedException", "this user may not write in the data folder"),
    ("UnsupportedClassVersionError", "this Java is too old: Kafka needs Java 17 or newer"),
)


def diagnose(log: str) -> tuple[str, str]:
    """The line of a dead broker's log that says why it ended, and a hint (each may be empty).

    Java's logs end in the shutdown's noise: what counts is the innermost cause of the first error,
    else the exception under it, else the error itself, else what was printed last.
    """
    lines = [line.strip() for line in log.splitlines() if _is_meaningful(line.strip())]
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    errors = [
        line if _LOGGED.match(following) else following
        for line, following in pairwise([*lines, "0000-"])
        if " ERROR " in line or " FATAL " in line
    ]
    reason = next(iter([*causes, *errors, *reversed(lines)]), "")
    hint = next((hint for needle, hint in _HINTS if needle in log), "")
    return reason.lstrip("# "), hint


def _is_meaningful(line: str) -> bool:
    return line.strip("# ") != "" and not line.startswith(("WARNING:", "Picked up ", "at "))
