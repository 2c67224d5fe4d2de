"""A modelled Kafka cluster: the test double, the simulator's world, and a broker for one process.

`log` is a partition, `groups` the group coordinator, `cluster` what the broker does by itself,
`link` a process's connection, `consumer`, `producers` and `reader` the clients, `faults` the dice.
"""

from __future__ import annotations

from events.memory.broker import MemoryBroker, MemoryConnection
from events.memory.cluster import Limits, Marker
from events.memory.faults import HARSH, KINDS, QUIET, Dice, Faults, Fired

__all__ = [
    "HARSH",
    "KINDS",
    "QUIET",
    "Dice",
    "Faults",
    "Fired",
    "Limits",
    "Marker",
    "MemoryBroker",
    "MemoryConnection",
]
