"""The front door: `from caseworks import App, Context, Step, publish, subscribe`.

Names are loaded on first use, so that a command line that needs none of them starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.context import Context
    from agents.delegation import Delegate, DelegateStep
    from agents.effects.answers import DidNotHappen, Happened, Unclear
    from agents.mind.errors import ModelError
    from agents.outcomes import Escalate
    from caseworks.app import App
    from caseworks.client import new_event, publish, subscribe
    from caseworks.nodes import Approval, Loop, Map, Step, Wait
    from events.errors import NotDoneError, PermanentError, TransientError
    from schemas.usage import Budget

__all__ = [
    "App",
    "Approval",
    "Budget",
    "Context",
    "Delegate",
    "DelegateStep",
    "DidNotHappen",
    "Escalate",
    "Happened",
    "Loop",
    "Map",
    "ModelError",
    "NotDoneError",
    "PermanentError",
    "Step",
    "TransientError",
    "Unclear",
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
    "DidNotHappen": "agents.effects.answers",
    "Escalate": "agents.outcomes",
    "Happened": "agents.effects.answers",
    "Loop": "caseworks.nodes",
    "Map": "caseworks.nodes",
    "ModelError": "agents.mind.errors",
    "NotDoneError": "events.errors",
    "PermanentError": "events.errors",
    "Step": "caseworks.nodes",
    "TransientError": "events.errors",
    "Unclear": "agents.effects.answers",
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
