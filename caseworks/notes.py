"""What loops note, counted and logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.turn import Turn
from events import metrics
from events.dispatch import Clock
from events.logs import get_logger

_log = get_logger("caseworks.loop")


def count_from_nil(telemetry: metrics.Telemetry, workflows: Iterable[str]) -> None:
    """Tell of counts that may be rare: rates see nothing of a first one that comes from nowhere."""
    for workflow in workflows:
        for said in ("yes", "no"):
            telemetry.count("caseworks_cases_closed_total", 0, workflow=workflow, in_time=said)


@dataclass(frozen=True, slots=True)
class Notes:
    """A `Listener` of the loops of one process.

    Args:
        telemetry: Counts.
        clock: Seconds since the epoch.
        restoring: The loops that have restored nothing yet; who has is taken out.
    """

    telemetry: metrics.Telemetry
    clock: Clock
    restoring: set[str]

    def __call__(self, name: str, fields: Mapping[str, Any]) -> None:
        loop = str(fields.get("loop", ""))
        if name == "committed":
            self._committed(loop, fields["turn"])
        elif name == "in_flight":
            agent = fields["agent"]
            self.telemetry.set("caseworks_in_flight", fields["in_flight"], agent=agent)
            for lane in ("normal", "urgent"):
                self.telemetry.set("caseworks_read_ahead", fields[lane], agent=agent, lane=lane)
        elif name in ("aborted", "fenced", "retried"):
            self.telemetry.count("caseworks_transactions_total", loop=loop, end=name)
            _log.warning(name, **{key: str(value) for key, value in fields.items()})
        elif name in ("discarded", "stopped"):
            self._troubled(name, loop, fields)
        elif name in ("suspects_started", "progress_ignored"):
            number = fields.get("suspects", 1)
            self.telemetry.count(f"caseworks_{name}_total", number, agent=fields["agent"])
            _log.warning(name, **{key: str(value) for key, value in fields.items()})
        elif name in ("loop_failed", "release"):
            _log.error(name, **{key: str(value) for key, value in fields.items()})
        else:
            if name == "restored":
                self.restoring.discard(loop)
            _log.info(name, **{key: str(value) for key, value in fields.items()})

    def _troubled(self, name: str, loop: str, fields: Mapping[str, Any]) -> None:
        """A state was thrown away, or its partition stands still."""
        if name == "stopped":
            self.telemetry.count("caseworks_partitions_stopped_total", loop=loop)
            _log.error("partition_stopped", **{key: str(value) for key, value in fields.items()})
        else:
            reason = str(fields["reason"])
            self.telemetry.count("caseworks_states_discarded_total", reason=reason)
            _log.warning("state_discarded", **{key: str(value) for key, value in fields.items()})

    def _committed(self, loop: str, turn: Turn) -> None:
        tell = self.telemetry
        for (name, labels), value in turn.counts.items():
            tell.count(name, value, **dict(labels))
        for name, value, labels in turn.observed:
            tell.observe(name, value, **dict(labels))
        tell.count("caseworks_transactions_total", loop=loop, end="committed")
        tell.set("caseworks_loop_last_turn_timestamp_seconds", self.clock(), loop=loop)
