"""How fast virtual time runs in a simulation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast virtual time runs."""

    step_s: float = 0.002
    """A step takes a random part of this."""
    stride_max_s: float = 1.0
    """While nothing happens, jumps grow up to this: a take may return so much too late."""
    growth: float = 2.0
    """By how much each jump is longer than the one before it."""
    restart_s: tuple[float, float] = (0.05, 3.0)
    """Between a process's end and its next life."""
    stop_s: tuple[float, float] = (0.05, 15.0)
    """How long a stopped process stands still."""
    skews_s: tuple[float, ...] = (3600.0, -3600.0, 45.0, -45.0)
    """How far a clock jumps."""
    skewed_s: tuple[float, float] = (0.1, 20.0)
    """How long it stays wrong."""
    expired: float = 0.6
    """How often a killed or stopped process loses membership and transaction at once, as if it
    had been away for longer than their time-outs."""
