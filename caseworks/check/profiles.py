"""What runs suffer: everything in turn, or one thing often."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from caseworks.check.clients import BUSY
from caseworks.simulation import Scenario
from events.memory import Faults

WEATHER = Faults(
    late_marker=0.5, short_take=0.5, split_take=0.3, patient_take=0.5, slow_delivery=0.5
)
ALL = replace(
    WEATHER,
    kill=0.003,
    stop=0.003,
    clock_jump=0.001,
    rebalance=0.003,
    lost_partitions=0.003,
    retriable=0.03,
    commit_timeout=0.06,
    abort_commit=0.04,
    abort_offsets=0.03,
    fenced=0.02,
    lost_delivery=0.05,
    duplicate=0.08,
    agent_fails=0.1,
    agent_lingers=0.08,
    agent_sticks=0.02,
    fired_max=16,
    each_max=4,
)

FAULTS: dict[str, Faults] = {
    "all": ALL,
    # Partitions go and come, and who had them goes on as if nothing had been.
    "zombies": replace(
        WEATHER,
        late_marker=0.7,
        stop=0.01,
        lost_partitions=0.02,
        rebalance=0.02,
        agent_lingers=0.2,
        fired_max=20,
        each_max=8,
    ),
    # Transactions fail in every way.
    "transactions": replace(
        WEATHER,
        kill=0.004,
        retriable=0.05,
        commit_timeout=0.2,
        abort_commit=0.15,
        abort_offsets=0.1,
        fenced=0.05,
        rebalance=0.003,
        fired_max=24,
        each_max=8,
    ),
    # Agents fail, linger and answer twice.
    "agents": replace(
        WEATHER,
        lost_delivery=0.2,
        duplicate=0.4,
        agent_fails=0.35,
        agent_lingers=0.3,
        agent_sticks=0.05,
        kill=0.002,
        fired_max=40,
        each_max=15,
    ),
    # More coordinators than partitions: some have nothing, and who has what changes all the time.
    "crowd": replace(
        WEATHER,
        split_take=0.9,
        patient_take=0.1,
        rebalance=0.06,
        lost_partitions=0.01,
        fired_max=40,
        each_max=36,
    ),
    # Workers lose and win partitions all the time, while agents are at work.
    "churn": replace(
        WEATHER,
        rebalance=0.06,
        lost_partitions=0.06,
        agent_lingers=0.4,
        fired_max=120,
        each_max=60,
    ),
    # What was answered is answered again, after a while.
    "echoes": replace(
        WEATHER,
        agent_fails=0.4,
        lost_delivery=0.3,
        duplicate=0.3,
        lost_partitions=0.01,
        kill=0.005,
        fired_max=80,
        each_max=30,
    ),
    # Processes die.
    "kills": replace(WEATHER, kill=0.015, agent_fails=0.1, fired_max=12, each_max=10),
    # Tasks kill whoever runs them, quickly or after a while.
    "crashes": replace(
        WEATHER,
        agent_kills=0.15,
        agent_lingers=0.2,
        rebalance=0.004,
        retriable=0.03,
        kill=0.001,
        fired_max=24,
        each_max=12,
    ),
}


COORDINATORS = {"crowd": 3}
WORKERS = {"churn": 2}
"""Of each agent; one where a profile says nothing."""


def scenario_of(seed: int, profile: str = "") -> Scenario:
    """What a seed's run suffers: a profile of its own, with half of its faults left out at times.

    Source: swarm testing (Groce et al., ISSTA 2012).
    """
    rng = Random(seed)
    names = tuple(FAULTS)
    name = profile or names[rng.randrange(len(names))]
    faults = FAULTS[name]
    if not profile and rng.random() < 0.3:
        faults = faults.drawn(rng)
    return Scenario(
        faults=faults,
        clients=BUSY,
        coordinators=COORDINATORS.get(name, 2),
        workers=WORKERS.get(name, 1),
    )
