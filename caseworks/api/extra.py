"""Whether the packages of the extra `api` are there; imports none of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from events.errors import SetupError

NEEDED = ("fastapi", "fastapi_offline", "httptools", "jwt", "limits", "uvicorn")
HINT = "pip install 'caseworks[api]'"


def missing(needed: Sequence[str] = NEEDED) -> list[str]:
    """The packages that are not installed."""
    return [name for name in needed if find_spec(name) is None]


def need_extra(needed: Sequence[str] = NEEDED) -> None:
    """Raises `SetupError` when something is missing."""
    absent = missing(needed)
    if absent:
        raise SetupError(f"the API needs {', '.join(absent)}", hint=HINT)
