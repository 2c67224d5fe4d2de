"""A helpdesk on real data: tickets, stock and payments; `examples.helpdesk:app` is the app.

The app is loaded on first use: data and logic are importable without the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from examples.helpdesk.workflows import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    """Load the app from its home."""
    if name == "app":
        from examples.helpdesk.workflows import app

        return app
    raise AttributeError(f"module 'examples.helpdesk' has no attribute {name!r}")
