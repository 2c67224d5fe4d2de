"""The data folder: JSON Lines and CSV, UTF-8, lines end in LF alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """One object a line; other line separators inside of a text are text."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """One row a record, by the names in the first line."""
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def read_json(path: Path) -> Mapping[str, Any]:
    """One object."""
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
