"""The front door: `from caseworks import App, Context, Step, publish, subscribe`.

Names are loaded on first use, so that a command line that needs none of them starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.context import Context
    from agents.delegation import Delegate, DelegateStep
    from agents.mind.errors import ModelError
    from agents.outcomes import Escalate
    from caseworks.app import App
    from caseworks.client import new_event, publish, subscribe
    from caseworks.nodes import Approval, Loop, Map, Step, Wait
    from events.errors import PermanentError, TransientError
    from schemas.usage import Budget

__all__ = [
    "App",
    "Approval",
    "Budget",
    "Context",
    "Delegate",
    "DelegateStep",
    "Escalate",
    "Loop",
    "Map",
    "ModelError",
    "PermanentError",
    "Step",
    "TransientError",
    "Wait",
    "new_event",
    "publish",
    "subscribe",
]

_HOMES = {
    "App": "caseworks.app",
    "Approval": "caseworks.nodes",
    "Budget": "schemas.usage",
    "Context": "agents.context",
    "Delegate": "agents.delegation",
    "DelegateStep": "agents.delegation",
    "Escalate": "agents.outcomes",
    "Loop": "caseworks.nodes",
    "Map": "caseworks.nodes",
    "ModelError": "agents.mind.errors",
    "PermanentError": "events.errors",
    "Step": "caseworks.nodes",
    "TransientError": "events.errors",
    "Wait": "caseworks.nodes",
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
