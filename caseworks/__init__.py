"""The front door: `from caseworks import App, Context, Step, publish, subscribe`.

Names are loaded on first use, so that a command line that needs none of them starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.context import Context
    from agents.mind.errors import ModelError
    from agents.outcomes import Escalate
    from caseworks.app import App, Step
    from caseworks.client import new_event, publish, subscribe
    from events.errors import PermanentError, TransientError

__all__ = [
    "App",
    "Context",
    "Escalate",
    "ModelError",
    "PermanentError",
    "Step",
    "TransientError",
    "new_event",
    "publish",
    "subscribe",
]

_HOMES = {
    "App": "caseworks.app",
    "Context": "agents.context",
    "Escalate": "agents.outcomes",
    "ModelError": "agents.mind.errors",
    "PermanentError": "events.errors",
    "Step": "caseworks.app",
    "TransientError": "events.errors",
    "new_event": "caseworks.client",
    "publish": "caseworks.client",
    "subscribe": "caseworks.client",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'caseworks' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
