"""Whether a process takes work now, and if not, why: what `/readyz` says."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caseworks.compose import System

JOIN_S = 10.0
"""After this a loop without partitions counts as ready: others have them all."""
STUCK_S = 60.0


def readiness(system: System) -> tuple[bool, str]:
    """Whether every loop of the process runs and has its partitions, and nothing else is wrong."""
    if not system.drivers:
        return False, "starting"
    now = monotonic()
    needed = [loop for loop in system.loops if loop.name not in system.aside]
    for why in (why for loop in needed for why in loop.stopped.values()):
        return False, why
    for why in (trouble() for trouble in system.troubles):
        if why:
            return False, why
    for driver in system.drivers:
        if not driver.alive:
            return False, f"{driver.name} has ended"
        if now - driver.last_turn > STUCK_S:
            return False, f"{driver.name} has not come round for {STUCK_S:.0f} s"
        if driver.name in system.aside:
            continue
        if not driver.owned and now - driver.started < JOIN_S:
            return False, f"{driver.name} waits for its partitions"
        if system.restoring and now - driver.started < JOIN_S:
            return False, f"restoring: {', '.join(sorted(system.restoring))}"
    return True, "ready"
