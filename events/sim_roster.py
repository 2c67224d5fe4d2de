"""Who can go: each runner is asked anew only when its answer may be another one."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import inf

from events.memory.cluster import Cluster
from events.sim_actors import NOW, Incarnation, Runner


class Roster:
    """The runners of all processes and from when on each can go; the network comes first.

    A runner's `due` changes when it acts, when a neighbour does, when the cluster changes, or when
    its process begins, ends, stops or goes on. To ask everybody before every step would be much of
    a run.

    Args:
        network: Its `due` may change with every step.
        cluster: Says what changed.
        lives: The processes that run.
    """

    def __init__(
        self, network: Runner, cluster: Cluster, lives: Callable[[], Iterable[Incarnation]]
    ) -> None:
        self.runners: list[Runner] = []
        self.able: list[int] = []
        """Where those stand who can go, in order; as of the last `look`."""
        self._network, self._cluster, self._lives = network, cluster, lives
        self._dues: list[float] = []
        self._coming: list[tuple[float, int]] = []
        """A heap of what time brings, and to whom; what does not hold any more is left in it."""
        self._near: list[list[Runner]] = []
        """By place: whom to ask after a step of the runner there."""
        self._waiting: list[Runner] = []
        """Those whom a change of the cluster may wake."""
        self._version = -1
        """Of the cluster when they were asked."""
        self.acted: Runner | None = None
        """Who made the last step, until the next look."""
        self._known = False
        """Whether these are the processes that run, and how they were asked."""

    def forget(self) -> None:
        """Processes have come, gone, stopped or gone on: begin anew with the next look."""
        self._known = False

    def look(self, now: float) -> None:
        """Bring `able` up to date."""
        cluster, acted = self._cluster, self.acted
        if not self._known:
            self._enlist()
        else:
            if acted is not None:
                self._ask(acted.neighbours() if acted is self._network else self._near[acted.place])
            if cluster.version != self._version:
                self._version, dues = cluster.version, self._dues
                self._ask([runner for runner in self._waiting if dues[runner.place] != NOW])
        self.acted = None
        coming = self._coming
        while coming and coming[0][0] <= now:
            due, at = heappop(coming)
            if self._dues[at] == due:
                self._put(at, NOW)
        if cluster.markers or cluster.airborne or self._dues[0] == NOW:
            self._ask((self._network,))

    def can_go(self, runner: Runner) -> bool:
        """Whether it is one of those."""
        return runner.place >= 0 and self._dues[runner.place] == NOW

    def wakes(self) -> tuple[float, float]:
        """When time brings somebody something to do, and when somebody's waiting ends.

        Asked while nobody but the network can go.
        """
        certain = waiting = inf
        for runner, due in zip(self.runners, self._dues, strict=True):
            if runner.only_waits:
                waiting = min(waiting, due)
            elif runner is not self._network:
                certain = min(certain, due)
        return certain, waiting

    def _enlist(self) -> None:
        for runner in self.runners:
            runner.place = -1
        self.runners = [self._network]
        for life in self._lives():
            self.runners += [runner for runner in life.all_runners() if not runner.done]
        self.able, self._coming = [], []
        self._dues = [inf] * len(self.runners)
        self._waiting = [runner for runner in self.runners if runner.only_waits]
        self._version = self._cluster.version
        for at, runner in enumerate(self.runners):
            runner.place = at
        self._near = [[runner, *runner.neighbours()] for runner in self.runners]
        self._ask(self.runners)
        self._known = True

    def _ask(self, runners: Iterable[Runner]) -> None:
        dues = self._dues
        for runner in runners:
            due, at = runner.due(), runner.place
            if due != dues[at]:
                self._put(at, due)

    def _put(self, at: int, due: float) -> None:
        if due == NOW:
            insort(self.able, at)
        else:
            if self._dues[at] == NOW:
                self.able.remove(at)
            if due != inf:
                heappush(self._coming, (due, at))
        self._dues[at] = due
