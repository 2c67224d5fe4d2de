"""Fallback chains, flocks and held cases, each broken in turn; see `bugs`."""

from __future__ import annotations

from functools import partial

from tests.sim.bug import Bug

_bug = partial(Bug, app="spared_app")

SPARED_BUGS = (
    _bug(
        "a follower forgotten when its leader ends without an answer",
        breaks="I4",
        file="coordinator/flock.py",
        before="        heir = next((name for name, due in left.items() if due > now), None)\n",
        after="        heir: str | None = None\n",
        profile="agents",
    ),
    _bug(
        "a fallback asked twice",
        breaks="I10",
        file="coordinator/fallback.py",
        before="handed, link = (*state.handed, told(agent, error), *passed), left[able or 0]",
        after="handed, link = (*state.handed, *passed), left[able or 0]",
        profile="agents",
    ),
    _bug(
        "a deferred case without a timer",
        breaks="I4",
        file="coordinator/case.py",
        before="    if case.held is not None and case.held < due:\n        due = case.held\n",
        after="",
    ),
    _bug(
        "coalescing across tenants",
        breaks="I3",
        file="coordinator/flock.py",
        before="plan.spec.version, event.tenant, value])",
        after="plan.spec.version, value])",
    ),
)
