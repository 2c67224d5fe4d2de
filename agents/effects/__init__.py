"""Calls that change the outside world, at most once: `ctx.effect`; see `effects`."""

from __future__ import annotations
