"""Graceful degradation: who stands in for a step's agent, and when.

A step has a *chain* of links: other agents (rules are a plain function), `cache` (the last good
output for the same input), `escalate`. The next one is asked when the one before failed for good or
was halted, and, with `degrade_after_s`, when something that it calls has been away for so long: the
step does not wait for the whole outage. Each link is asked once for a task; `handed` says why, and
its length how far the step has come along the chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.lean_case import StepState
from schemas.outcome import Failure, Outcome
from schemas.result import Degraded
from schemas.workflow import ESCALATE, StepSpec

if TYPE_CHECKING:
    from coordinator.draft import Draft

AWAY = "dependency_open"
"""Failure kind of what is handed on because of a dependency."""
MISS = "cache_miss"
"""Failure kind of the cache when it has nothing for this input."""
LOOK_MIN_S = 1.0
"""A step is not looked at more often."""
WHY_MAX = 200
"""Longer messages are cut in what is kept of them."""


def started(draft: Draft, key: str, step: StepSpec, agent: str | None) -> bool:
    """Whether a step began with who stands in, its agent having been away for too long."""
    error = overdue(draft, step, draft.around.away(agent or ""))
    return error is not None and _hand_on_from(draft, key, agent or "", error, waits=True)


def hand_on(draft: Draft, key: str, error: Failure, outcome: Outcome | None) -> bool:
    """Ask the next link; whether there was one."""
    return _hand_on_from(draft, key, draft.at(key).agent or "", error, outcome)


def _hand_on_from(
    draft: Draft,
    key: str,
    agent: str,
    error: Failure,
    outcome: Outcome | None = None,
    *,
    waits: bool = False,
) -> bool:
    """Ask the first link that can work; when none can, the next one, unless the step `waits`."""
    state, step = draft.at(key), draft.spec(key)
    left = step.chain[len(state.handed) :]
    if not left:
        return False
    able = next((at for at, link in enumerate(left) if not _away(draft, step, link)), None)
    if able is None and waits:
        return False
    passed = tuple(f"{link}: {AWAY}" for link in left[: able or 0])
    handed, link = (*state.handed, told(agent, error), *passed), left[able or 0]
    if error.kind == MISS and state.error is not None:
        error = state.error  # what led to the cache
    if link == ESCALATE:
        from coordinator.steps import escalate

        draft.replace(key, handed=handed, degraded=True)
        escalate(draft, key, error, outcome)
    else:
        fresh = {"burnt": 0, "due": None, "deferred": None, "error": error, "handed": handed}
        draft.send(key, "fallback", agent=link, **fresh)
    return True


def _away(draft: Draft, step: StepSpec, agent: str) -> bool:
    return overdue(draft, step, draft.around.away(agent)) is not None


def told(agent: str, error: Failure) -> str:
    """What went wrong, in a line."""
    return f"{agent}: {error.kind}: {error.message[:WHY_MAX]}".rstrip(": ")


# --- patience


def overdue(draft: Draft, step: StepSpec, since: float | None) -> Failure | None:
    """What is wrong with an agent that is away since then, once the step waits no longer for it."""
    patience_s = step.degrade_after_s
    if patience_s is None or since is None or draft.now < since + patience_s:
        return None
    return Failure(kind=AWAY, message=f"away for {draft.now - since:.0f} s")


def look_at(
    step: StepSpec, handed: tuple[str, ...], now: float, since: float | None = None
) -> float | None:
    """When to look after a step next, if at all: its agent is away since then, or from now on."""
    if step.degrade_after_s is None or len(handed) >= len(step.chain):
        return None
    away = now if since is None else min(since, now)
    return max(away + step.degrade_after_s, now + LOOK_MIN_S)


def looks(draft: Draft, state: StepState) -> bool:
    """Whether only that is due of a step."""
    if state.look is None or state.look > draft.now:
        return False
    other = state.due if state.status == "retrying" else state.deadline
    return other is None or other > draft.now


def look(draft: Draft, key: str) -> None:
    """Hand a step on whose agent has been away for too long; else look again later."""
    state, step = draft.at(key), draft.spec(key)
    since = _since(draft, state)
    error = overdue(draft, step, since)
    if error is not None:
        if _hand_on_from(draft, key, state.agent or "", error, waits=True):
            return
        since = None
    draft.replace(key, look=look_at(step, state.handed, draft.now, since))


def _since(draft: Draft, state: StepState) -> float | None:
    """Since when its agent cannot work, as the fleet says or as its own deferrals do."""
    away = draft.around.away(state.agent or "")
    held = state.deferred if state.status == "retrying" else None
    known = [at for at in (away, held) if at is not None]
    return min(known, default=None)


# --- and what is said of it


def report(state: StepState) -> Degraded:
    """What a degraded step ended with."""
    if state.items is not None:
        link = "items"
    elif state.status == "skipped":
        link = "skipped"
    elif state.status == "done":
        link = (state.agent or "") if state.handed else "last_round"
    else:
        link = ESCALATE
    error = () if state.error is None else (f"{state.error.kind}: {state.error.message[:WHY_MAX]}",)
    return Degraded.trusted(link=link, why=state.handed or error)


def how(state: StepState) -> str:
    """The same in a few words."""
    if state.items is not None and state.items.failed:
        return f"{state.items.failed} of {state.items.total} items failed"
    link = report(state).link
    said = f"fallback {link}" if state.handed and link == state.agent else link.replace("_", " ")
    return f"{said} ({state.error.kind})" if state.error else said
