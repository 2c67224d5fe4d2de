"""Whether an agent's worker loop may take tasks: its pause, and the breakers of what it calls."""

from __future__ import annotations

from collections.abc import Callable

from agents.limits.dependencies import Dependencies
from agents.limits.fleet import SEVERITY, Standing
from schemas.agent import AgentSpec

Gate = Callable[[], Standing]
"""Asked by the worker loop in every turn, on its own thread; must not block."""


def always() -> Standing:
    """Of an agent that nothing holds back."""
    return "free"


def gate_of(spec: AgentSpec, dependencies: Dependencies) -> Gate:
    """The worst of what its pause and its dependencies allow."""
    fleet = dependencies.fleet

    def standing() -> Standing:
        if not fleet.ready or fleet.paused(spec.name, spec.version):
            return "shut"
        found: Standing = "free"
        for dependency in spec.calls:
            each = dependencies.standing(dependency)
            if SEVERITY[each] > SEVERITY[found]:
                found = each
        return found

    return standing
