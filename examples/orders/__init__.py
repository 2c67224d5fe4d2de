"""An order from placing to parcel: every part of the workflow language once."""

from __future__ import annotations

from examples.orders.app import app

__all__ = ["app"]
