"""What is done, as a table: each line a system, what happens to it, and how long that may take."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.faults import (
    Fault,
    Freeze,
    Gone,
    GoneInside,
    Kill,
    KillEarly,
    KillNode,
    Network,
    Roll,
    Scale,
    Storm,
    Twin,
)
from tests.chaos.world import Setup

AS_USUAL = Setup()
STALL_S_MAX = 2.0
"""After a kill of a coordinator that comes back under its name."""
TAKEOVER_S_MAX = 9.0
"""With a coordinator gone for good: the session timeout of 6 s, and 3 s."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table.

    Args:
        name: For `--only`.
        about: What a reader should know.
        faults: Done one after another, round and round.
        times: How many of them.
        cases: Published over all of it, and more while faults are left.
        rate: Cases a second.
        setup: The system.
        pause_s: Between faults: at least, at most.
        limit_s: The whole of it, start and account included, is given up after that.
    """

    name: str
    about: str
    faults: tuple[Fault, ...]
    times: int
    cases: int
    rate: float = 200.0
    setup: Setup = AS_USUAL
    pause_s: tuple[float, float] = (0.5, 1.5)
    limit_s: float = 300.0


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "kills",
        "kill -9 of coordinators and workers, all the time; their supervisor starts them again",
        (Kill("coordinator"), Kill("worker")),
        times=104,
        cases=100_000,
        rate=330.0,
        limit_s=720.0,
    ),
    Scenario(
        "restarts",
        "kill -9 of coordinators alone, with time to recover: how long a restart is felt",
        (Kill("coordinator"),),
        times=24,
        cases=12_000,
        rate=100.0,
        pause_s=(3.0, 4.0),
        limit_s=240.0,
    ),
    Scenario(
        "freezes",
        "SIGSTOP and SIGCONT, for less and for more than the session timeout",
        (
            Freeze("coordinator", 2.0),
            Freeze("worker", 2.0),
            Freeze("coordinator", 9.0),
            Freeze("worker", 9.0),
        ),
        times=4,
        cases=3_000,
        pause_s=(4.0, 6.0),
    ),
    Scenario(
        "twins",
        "a second coordinator is started under the same name by mistake",
        (Twin(), Twin(stubborn=True)),
        times=2,
        cases=3_000,
        pause_s=(3.0, 5.0),
    ),
    Scenario(
        "early-kills",
        "kill -9 of what was just started again: while it joins, while it restores",
        (KillEarly("coordinator"), KillEarly("worker")),
        times=4,
        cases=3_000,
        pause_s=(3.0, 4.0),
    ),
    Scenario(
        "broker",
        "the only broker is killed and comes back",
        (KillNode(),),
        times=3,
        cases=3_000,
        pause_s=(3.0, 4.0),
    ),
    Scenario(
        "one-of-three",
        "one of three brokers is killed and comes back; three copies, two must be in sync",
        (KillNode(away_s=4.0),),
        times=2,
        cases=3_000,
        rate=120.0,
        setup=Setup(nodes=3),
        pause_s=(2.0, 3.0),
    ),
    Scenario(
        "network",
        "the network of all processes pauses, resets, and is slow",
        (
            Network("pause", 2.0),
            Network("cut"),
            Network("delay", 5.0),
            Network("pause", 12.0),
        ),
        times=4,
        cases=3_000,
        setup=Setup(behind=("coordinator", "worker")),
        pause_s=(3.0, 4.0),
    ),
    Scenario(
        "isolated",
        "one coordinator and one worker lose the network; the others take over; they come back",
        (Network("pause", 9.0), Network("cut"), Network("pause", 3.0)),
        times=3,
        cases=3_000,
        setup=Setup(behind=("coordinator-0", "worker-0-0")),
        pause_s=(3.0, 4.0),
    ),
    Scenario(
        "rolling",
        "rolling restarts by SIGTERM, as a new version is deployed",
        (Roll("coordinator"), Roll("worker")),
        times=2,
        cases=3_000,
    ),
    Scenario(
        "storm",
        "members join and leave at any moment, with kills in between",
        (Storm(), Kill("worker"), Storm(), Kill("coordinator")),
        times=4,
        cases=5_000,
        pause_s=(1.0, 3.0),
    ),
    Scenario(
        "scale",
        "two more coordinators for a while, and away again by SIGTERM",
        (Scale(),),
        times=1,
        cases=3_000,
        setup=Setup(coordinators=1),
    ),
    Scenario(
        "gone",
        "one of three coordinators is gone for good: the others finish its cases",
        (Gone(),),
        times=2,
        cases=3_000,
        setup=Setup(coordinators=3),
        pause_s=(6.0, 7.0),
    ),
    Scenario(
        "gone-inside",
        "a third coordinator dies for good in the middle of a transaction that hides its work",
        (GoneInside("intake"), GoneInside("orchestrator")),
        times=2,
        cases=3_000,
        pause_s=(3.0, 4.0),
    ),
)

CONTROLS: tuple[Scenario, ...] = (
    Scenario(
        "dies-inside",
        "the control of the next: coordinators die in the middle of transactions",
        (Kill("worker"),),
        times=2,
        cases=1_000,
        setup=Setup(coordinators=1, workers=1, mutant="none"),
    ),
    Scenario(
        "no-transactions",
        "the same without transactions: something MUST be doubled",
        (Kill("worker"),),
        times=2,
        cases=1_000,
        setup=Setup(coordinators=1, workers=1, mutant="no-transactions"),
    ),
    Scenario(
        "random-names",
        "without stable names: stalls MUST be longer than the limit",
        (Kill("coordinator"),),
        times=3,
        cases=1_000,
        setup=Setup(coordinators=1, workers=1, mutant="random-names"),
        pause_s=(6.0, 7.0),
    ),
)
"""Control arms: that nothing is found elsewhere means something, because here it is."""

SMOKE = Scenario(
    "smoke",
    "one kill of each kind and one freeze",
    (Kill("coordinator"), Kill("worker"), Freeze("coordinator", 1.0)),
    times=3,
    cases=1_000,
    rate=100.0,
    setup=Setup(coordinators=1, workers=1),
    pause_s=(0.5, 1.0),
    limit_s=120.0,
)
