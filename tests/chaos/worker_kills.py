"""Eight workers of an ordered agent, 100,000 tasks, sixteen kill -9: done, in order, hardly twice.

Tasks are written straight to the agent's topic and outcomes read from the inbox, as the wire
contract says: no coordinator is the bottleneck, or puts anything right.
"""

from __future__ import annotations

import random
import signal
import time

from tests.chaos.completions import Completions, Kill
from tests.chaos.load import Pace
from tests.chaos.tasks import DRAIN_S, SETTINGS, Client, no_event
from tests.chaos.trial import Ask, Figure, Showing
from tests.chaos.workload import Workload
from tests.chaos.world import NAMESPACE, READY_TIMEOUT_S, Setup, World, world

TASKS = 100_000
KILLS = 16
WORKERS = 8
RATE_PER_S = 1_000.0
IN_FLIGHT_MAX = 64
"""Of the agent."""
COMMIT_MS = 1_000
"""Commits come every 200 ms, and on a busy machine late."""
STABLE_S = 3.0
"""Nobody is killed sooner after its start, so that everybody is at work."""


def worker_kills(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`."""
    goal, times, rate = ask.cases or TASKS, ask.times or KILLS, ask.rate or RATE_PER_S
    workload = Workload("tests.chaos.ordered_app:app", ("keeping",), ("keep",), no_event)
    setup = Setup(coordinators=0, workers=1, copies=WORKERS, env=SETTINGS)
    with world(setup, workload, Pace(1.0), ask.seed, ask.keep) as running:
        running.deadline = time.monotonic() + goal / rate + times * 10.0 + DRAIN_S
        client = Client(running.cluster.bootstrap, "keep", goal, rate)
        begun = time.monotonic()
        client.start()
        try:
            kills = _kill(running, client, times, ask)
            client.wait(running, goal)
            took_s = time.monotonic() - begun
            running.wait(3.0)  # what is doubled may come late
        finally:
            running.crew.close()
            client.stop()
        showing.complaints += running.crew.deaths.crashes
    showing.figures += _figures(client.told, goal, kills, took_s)
    showing.complaints += client.told.disordered[:5]


def _kill(running: World, client: Client, times: int, ask: Ask) -> list[Kill]:
    chance, kills = random.Random(ask.seed), list[Kill]()
    crew = running.crew
    for number in range(times):
        due = client.goal * (number + 1) // (times + 1)
        client.wait(running, due)
        crew.until(lambda: bool(crew.names("worker", older_s=STABLE_S)), READY_TIMEOUT_S, "nobody")
        name = chance.choice(crew.names("worker", older_s=STABLE_S))
        crew.signal(name, signal.SIGKILL)
        instance = name.rpartition("-")[2]
        kills.append(Kill(f"{NAMESPACE}-worker-{instance}", int(time.time() * 1000)))
        ask.told(f"{number + 1}/{times}: kill {name}, {len(client.told.firsts)} tasks done")
    return kills


def _figures(told: Completions, goal: int, kills: list[Kill], took_s: float) -> list[Figure]:
    doubled, strange = told.doubled_by(kills, COMMIT_MS)
    beyond = [
        n - told.in_flight_most(kill, IN_FLIGHT_MAX, COMMIT_MS) for kill, n in doubled.items()
    ]
    bound = sum(told.in_flight_most(kill, IN_FLIGHT_MAX, COMMIT_MS) for kill in kills)
    return [
        Figure("tasks done", len(told.firsts), "", goal, goal),
        Figure("outcomes that are no success", told.failed, "", None, 0),
        Figure("first completions out of order", len(told.disordered), "", None, 0),
        Figure("kill -9", len(kills)),
        Figure("done twice", len(told.again), "", None, bound),
        Figure("the most of one kill", max(doubled.values(), default=0)),
        Figure(
            "kills that doubled more than was in flight", sum(n > 0 for n in beyond), "", None, 0
        ),
        Figure("done twice without a kill", strange, "", None, 0),
        Figure("throughput, kills included", goal / took_s, "tasks/s"),
    ]
