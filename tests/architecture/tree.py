"""What the repository holds: the files git tracks or would track, read once."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.architecture.rules import Source

ROOT = Path(__file__).parents[2]
MADE_BY_TOOLS = r"(.*/)?(\.(?!ci/|dockerignore|gitignore)|__pycache__/)|(build|dist)/"


@cache
def paths() -> frozenset[str]:
    """Paths from the root: tracked files and new ones; without git, all but what tools made."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = {name for name in listed.stdout.split("\0") if name}
    else:
        found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")}
        found = {name for name in found if not re.match(MADE_BY_TOOLS, name)}
    return frozenset(name for name in found if (ROOT / name).is_file())


@cache
def texts() -> tuple[Source, ...]:
    """Every file that is UTF-8 text."""
    return tuple(source for path in sorted(paths()) if (source := _read(path)))


def python() -> tuple[Source, ...]:
    """Every Python file."""
    return tuple(source for source in texts() if source.path.endswith(".py"))


def _read(path: str) -> Source | None:
    try:
        return Source(path, (ROOT / path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None
