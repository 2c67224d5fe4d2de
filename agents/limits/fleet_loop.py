"""The loop that reads `control` into the process's view of the fleet; sans-I/O like all loops.

Its group is the process's own and commits nothing: every start reads the decisions anew.
"""

from __future__ import annotations

from agents.limits.fleet_view import FleetView
from events.broker import Taken, TopicPartition
from events.loop import Loop, Open, Take

DECISIONS_MAX = 1_000
"""Taken at once."""
FIRST_WAIT_S = 0.05
"""Nothing for so long is the end of the decisions, as far as a new process waits for it."""


def fleet_loop(view: FleetView, take_timeout_s: float) -> Loop:
    """Read on and on; the consumer delivers nothing of a new partition before `Open`."""
    opened: dict[TopicPartition, int] = {}
    while True:
        wait_s = take_timeout_s if view.looked_through else min(FIRST_WAIT_S, take_timeout_s)
        taken: Taken = yield Take(DECISIONS_MAX, wait_s)
        view.learn(taken.messages)
        if opened and not taken.messages:
            view.looked()
        new = [each for each, epoch in taken.assignment.items() if opened.get(each) != epoch]
        opened = dict(taken.assignment)
        if new:
            yield Open(dict.fromkeys(new))
