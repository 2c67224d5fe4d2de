"""How far behind the consumer groups are: for the command, and as a metric of every process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Event, Thread

from events.broker import Admin, Broker, GroupLag
from events.errors import CaseworksError
from events.logs import get_logger
from events.metrics import Telemetry
from events.topics import Topics

INTERVAL_S = 10.0
LOOPS = ("intake", "orchestrator", "controller")

log = get_logger(__name__)


def groups_of(topics: Topics, agents: Iterable[str]) -> tuple[str, ...]:
    """Every group of an app with these agents."""
    loops = (topics.loop_group(loop) for loop in LOOPS)
    return (*loops, *(topics.workers_group(agent) for agent in sorted(agents)))


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
        groups: Sequence[str],
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
                for group in self._groups:
                    measure(admin, group, self._telemetry)
            except CaseworksError as error:
                log.warning("lag_unknown", error=str(error))
        if admin is not None:
            admin.close()


def measure(admin: Admin, group: str, telemetry: Telemetry) -> None:
    """Ask once and set the gauges of a group, of the partitions where it has committed."""
    for lag in admin.lag(group, owned=False):
        telemetry.set(
            "caseworks_consumer_lag",
            behind(lag),
            group=group,
            topic=lag.source.topic,
            partition=lag.source.partition,
        )
