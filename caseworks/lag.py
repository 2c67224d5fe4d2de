"""How far behind the consumer groups are: for the command, and as a metric of every process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Event, Thread

from events.broker import Admin, Broker, GroupLag
from events.errors import CaseworksError
from events.logs import get_logger
from events.metrics import Telemetry
from events.topics import Topics

INTERVAL_S = 10.0

log = get_logger(__name__)


def loops_of(topics: Topics) -> dict[str, tuple[str, ...]]:
    """The groups of a coordinator's loops, and what each reads."""
    read = {"intake": topics.events, "orchestrator": topics.inbox, "controller": topics.requests}
    return {topics.loop_group(loop): (topic,) for loop, topic in read.items()}


def workers_of(topics: Topics, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The groups of these agents' workers, and what each reads."""
    return {
        topics.workers_group(agent): (topics.tasks(agent), topics.tasks(agent, "urgent"))
        for agent in sorted(agents)
    }


def groups_of(topics: Topics, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every group of an app with these agents, and what each reads."""
    return loops_of(topics) | workers_of(topics, agents)


def behind(lag: GroupLag) -> int:
    """Records that a group has not done on a partition; all of them if it never committed."""
    return max(0, lag.end - (lag.committed or 0))


class LagMonitor:
    """Measures the lag of groups on a thread of its own until `close`.

    A broker that does not answer is logged, and asked again the next time.
    """

    def __init__(
        self,
        broker: Broker,
        groups: Mapping[str, Sequence[str]],
        telemetry: Telemetry,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._broker = broker
        self._groups = groups
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="lag", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; waits at most one question to the broker."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        admin: Admin | None = None
        while not self._stop.wait(self._interval_s):
            try:
                admin = admin or self._broker.admin()
                for group, topics in self._groups.items():
                    measure(admin, group, topics, self._telemetry)
            except CaseworksError as error:
                log.warning("lag_unknown", error=str(error))
        if admin is not None:
            admin.close()


def measure(admin: Admin, group: str, topics: Sequence[str], telemetry: Telemetry) -> None:
    """Ask once and set the gauges of a group, for every partition of what it reads."""
    for lag in admin.lag(group, topics=topics):
        telemetry.set(
            "caseworks_consumer_lag",
            behind(lag),
            group=group,
            topic=lag.source.topic,
            partition=lag.source.partition,
        )
