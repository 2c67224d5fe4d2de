"""The connection of one process to the cluster: what a kill cuts and a stop silences.

Every port belongs to a link and asks it first. A killed process cannot act any more,
whatever its `finally` blocks try; its members stay in their groups until their sessions end.
"""

from __future__ import annotations

from typing import Protocol

from events.errors import FatalBrokerError
from events.memory.cluster import Cluster
from events.memory.groups import Group, Member


class Delivering(Protocol):
    """A producer with records on their way."""

    @property
    def sending(self) -> int:
        """How many records have not arrived yet."""

    @property
    def reports(self) -> int:
        """How many delivery reports `poll` would serve."""

    def deliver(self) -> None:
        """Let the oldest record arrive."""

    def poll(self) -> None:
        """Serve the reports."""

    def lose(self) -> None:
        """The process is gone: some of what was on its way arrives, the rest never."""


class Link:
    """One process's connection: its ports ask `enter` before every call."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.alive = True
        self.spared = False
        """No faults strike its calls."""
        self.silent_since: float | None = None
        self.members: dict[Member, Group] = {}
        self.ids: dict[str, None] = {}
        """Transactional ids that were initialised through this link."""
        self.producers: list[Delivering] = []
        self.airborne = 0
        """Records and reports of plain producers that are on their way."""

    def enter(self) -> None:
        """Begin a call: refuse it for a dead process, then let the broker's time pass."""
        if not self.alive:
            raise FatalBrokerError(f"{self.name} was killed and cannot act any more")
        cluster = self.cluster
        if cluster.clock() >= cluster.deadline:
            cluster.tick()

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens to the call."""
        return not self.spared and self.cluster.dice.strikes(kind, self.name)

    def cut(self) -> None:
        """Kill: no call comes through any more, and nobody heartbeats."""
        with self.cluster.lock:
            self.silence()
            self.alive = False
            for producer in self.producers:
                producer.lose()
            self.cluster.changed()

    def silence(self) -> None:
        """Stop: heartbeats end, calls of the stopped process come later."""
        with self.cluster.lock:
            self.silent_since = self.cluster.clock()
            for member in self.members:
                if member.silent_since is None:
                    member.silent_since = self.silent_since
                self.cluster.watch(member)

    def resume(self) -> None:
        """Continue: heartbeats for memberships that are still there."""
        with self.cluster.lock:
            self.silent_since = None
            for member in self.members:
                member.silent_since = None

    def expire(self) -> None:
        """Give all members and open transactions up, as if their time had run out."""
        with self.cluster.lock:
            for member, group in list(self.members.items()):
                self.cluster.expire(group, member)
            for name in self.ids:
                self.cluster.time_out(self.cluster.ids[name])
