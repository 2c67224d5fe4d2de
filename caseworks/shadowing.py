"""Whether the packages that Python finds under our names are ours. Imports nothing of ours.

Caseworks ships flat packages with short names; a module `agents` of the user, or of another
distribution, would be imported in place of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

OURS = ("agents", "caseworks", "coordinator", "events", "schemas")
ROOT = Path(__file__).resolve().parents[1]
"""The folder that our packages live in."""


def shadows(path: Sequence[str] | None = None) -> dict[str, Path]:
    """Our names that lead elsewhere on *path* (default: `sys.path`), and where to."""
    search = list(sys.path if path is None else path)
    found = {name: _place(name, search) for name in OURS}
    return {name: place for name, place in found.items() if place is not None}


def explain(found: dict[str, Path]) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    places = ", ".join(f"{name!r} is {place}" for name, place in found.items())
    return (
        f"another module hides one of Caseworks' own: {places}",
        "rename it or run from another folder",
    )


def _place(name: str, search: list[str]) -> Path | None:
    """Where a module of that name lies, if not with ours; None when there is none or it is ours."""
    spec = PathFinder.find_spec(name, search)
    if spec is None:
        return None
    if spec.origin is not None:
        at = Path(spec.origin).resolve()
        return None if at.is_relative_to(ROOT / name) else at
    # A folder without __init__.py is a last resort of the import system: it hides nothing of ours.
    return None
