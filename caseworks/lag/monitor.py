"""The lag of groups as metrics of a process."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

from caseworks.lag.views import STATES, AgentWork, GroupReport, LagReport
from events.errors import CaseworksError
from events.logs import get_logger

if TYPE_CHECKING:
    from caseworks.lag.survey import Surveyor
    from events.metrics import Telemetry

log = get_logger(__name__)


class LagMonitor:
    """Measures on a thread of its own until `close`, and tells the metrics.

    A broker that does not answer is logged, and asked again the next time.
    """

    def __init__(self, surveyor: Surveyor, telemetry: Telemetry, interval_s: float) -> None:
        self._surveyor = surveyor
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="lag", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; waits at most for the question to the broker that is open."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                tell(self._surveyor.look(), self._telemetry)
            except CaseworksError as error:
                log.warning("lag_unknown", error=str(error))
                self._surveyor.close()
            except Exception:  # else the gauges would stand still, and nobody knew
                log.exception("lag_unknown")
                self._surveyor.close()
        self._surveyor.close()


def tell(report: LagReport, telemetry: Telemetry) -> None:
    """Set every gauge of lag."""
    for group in report.groups:
        _tell_group(group, telemetry)
    for agent in report.agents:
        _tell_work(agent, telemetry)
    telemetry.set("caseworks_lag_measured_timestamp_seconds", report.at)


def _tell_group(group: GroupReport, telemetry: Telemetry) -> None:
    name = group.group
    if group.members is not None:
        telemetry.set("caseworks_consumer_members", group.members, group=name)
        telemetry.set("caseworks_consumer_unowned", group.unowned, group=name)
    telemetry.set("caseworks_consumer_held", group.lag if group.held else 0, group=name)
    for each in group.partitions:
        place = {"group": name, "topic": each.topic, "partition": each.partition}
        age_s = 0 if group.held else each.oldest_age_s or 0
        state = STATES.index(each.state or "OK")
        telemetry.set("caseworks_consumer_lag", each.lag, **place)
        telemetry.set("caseworks_consumer_committed_lag", each.committed_lag, **place)
        telemetry.set("caseworks_consumer_undelivered", each.undelivered, **place)
        telemetry.set("caseworks_consumer_oldest_age_seconds", age_s, **place)
        telemetry.set("caseworks_consumer_state", state, **place)
    for topic in sorted({each.topic for each in group.partitions}):
        mine = [each for each in group.partitions if each.topic == topic]
        for metric, number in (
            ("caseworks_consumer_in_flight", sum(each.in_flight for each in mine)),
            ("caseworks_consumer_done_ahead", sum(each.done_ahead for each in mine)),
            ("caseworks_consumer_hidden", sum(each.hidden for each in mine)),
        ):
            telemetry.set(metric, number, group=name, topic=topic)


def _tell_work(work: AgentWork, telemetry: Telemetry) -> None:
    """What was not learned is not told: nothing is not known to be nothing."""
    for held, waiting in (("no", work.now), ("yes", work.held)):
        for unit in ("seconds", "tokens", "usd"):
            number = getattr(waiting, unit)
            if number is not None:
                telemetry.set(f"caseworks_work_behind_{unit}", number, agent=work.agent, held=held)
