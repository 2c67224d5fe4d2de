"""Agents that wait: one process keeps its 2,000 places busy, and so does 2,000 tasks a second."""

from __future__ import annotations

import time

from tests.chaos.load import Pace
from tests.chaos.steady_app import IN_FLIGHT_MAX, LATENCY_S
from tests.chaos.tasks import SETTINGS, Client, no_event
from tests.chaos.trial import Ask, Figure, Showing
from tests.chaos.workload import Workload
from tests.chaos.world import Setup, world

RATE_PER_S = 2_400.0
"""Tasks come a little faster than they can be done, so that some always wait."""
WARM_UP_S = 5.0
WINDOW_S = 20.0
SHARE_LEAST = 0.95


def steady(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`."""
    window_s, rate = ask.seconds or WINDOW_S, ask.rate or RATE_PER_S
    goal = ask.cases or int(rate * (WARM_UP_S + window_s))
    workload = Workload("tests.chaos.steady_app:app", ("waiting",), ("wait",), no_event)
    env = {**SETTINGS, "CASEWORKS_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX)}
    setup = Setup(coordinators=0, workers=1, env=env)
    with world(setup, workload, Pace(1.0), ask.seed, ask.keep) as running:
        running.deadline = time.monotonic() + 300.0
        client = Client(running.cluster.bootstrap, "wait", goal, rate)
        client.start()
        try:
            client.wait(running, IN_FLIGHT_MAX)
            running.wait(WARM_UP_S)
            before, begun = len(client.told.firsts), time.monotonic()
            running.wait(window_s)
            per_s = (len(client.told.firsts) - before) / (time.monotonic() - begun)
            client.wait(running, goal)
        finally:
            running.crew.close()
            client.stop()
        showing.complaints += running.crew.deaths.crashes
    best = IN_FLIGHT_MAX / LATENCY_S
    share = per_s / best
    showing.figures += [
        Figure("tasks done", len(client.told.firsts), "", goal, goal),
        Figure("done twice", len(client.told.again), "", None, 0),
        Figure("outcomes that are no success", client.told.failed, "", None, 0),
        Figure("throughput", per_s, "tasks/s"),
        Figure("share of in flight / latency", share, "", SHARE_LEAST, is_timing=True),
    ]
