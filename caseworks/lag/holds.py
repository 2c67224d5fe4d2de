"""What holds an agent's tasks back by decision: a pause, or the breaker of what it calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.agent import AgentSpec
from schemas.control import Breaker, Decision, Pause


def held_by(agent: str, decisions: Iterable[Decision], specs: Mapping[str, AgentSpec]) -> str:
    """Why an agent takes no work; empty when nothing holds it.

    Of an agent that is not among *specs* it is not known what it calls, nor which version runs: no
    breaker holds it, and the pause of whichever version does.
    """
    spec = specs.get(agent)
    for each in decisions:
        if isinstance(each, Pause):
            this = each.agent == agent and each.paused
            if this and (
                not each.agent_version or spec is None or spec.version == each.agent_version
            ):
                return f"pause: {each.reason or each.by or 'no reason given'}"
        elif _shuts(each, spec):
            return f"breaker: {each.dependency} is {each.state.replace('_', ' ')}"
    return ""


def not_closed(decisions: Iterable[Decision]) -> tuple[str, ...]:
    """The dependencies whose breaker is not closed, by name."""
    found = (each for each in decisions if isinstance(each, Breaker) and each.state != "closed")
    return tuple(sorted(each.dependency for each in found))


def _shuts(breaker: Breaker, spec: AgentSpec | None) -> bool:
    called = spec is not None and breaker.dependency in spec.calls
    return called and breaker.state != "closed"
