"""What insight finds as metrics of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from caseworks.insight.alerts import Episodes
from caseworks.insight.cells import Cell
from caseworks.insight.rates import Standing
from events.metrics import Telemetry

RULES = ("errors", "confidence", "guards", "drift")
Sample = tuple[str, tuple[tuple[str, str], ...]]


class Gauges:
    """Sets the gauges of each snapshot, and drops those that have no value any more."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._told: set[Sample] = set()

    def tell(
        self,
        standings: Iterable[Standing],
        episodes: Episodes,
        business: dict[str, Any] | None,
        refused: int,
    ) -> None:
        """Say how everything stands. *refused*: facts counted under `~other`."""
        told: set[Sample] = set()
        for standing in standings:
            for name, value, labels in _samples(standing):
                if value is not None:
                    self._telemetry.set(f"caseworks_insight_{name}", value, **labels)
                    told.add((f"caseworks_insight_{name}", tuple(labels.items())))
        for name, gone in self._told - told:
            self._telemetry.forget(name, **dict(gone))
        self._told = told
        for rule in RULES:
            firing = sum(1 for each, _ in episodes.open if each == rule)
            self._telemetry.set("caseworks_insight_alerts", firing, rule=rule)
        self._telemetry.set("caseworks_insight_other_names", refused)
        if business is not None:
            self._telemetry.set("caseworks_insight_hours_saved", business["hours_saved"])
            self._telemetry.set("caseworks_insight_net_benefit_usd", business["net_benefit_usd"])


def _samples(standing: Standing) -> Iterator[tuple[str, float | None, dict[str, str]]]:
    hour, day = standing.hour, standing.day
    who = {"kind": standing.subject.kind, "name": standing.subject.name}
    yield "cases", hour.n, who
    for of, value in _ratios(hour).items():
        yield "ratio", value, {**who, "of": of}
    yield "confidence", hour.mean_confidence, who
    yield "case_usd", float(hour.usd) / hour.n if hour.n else None, who
    for quantile in (0.5, 0.99):
        ms = hour.quantile(quantile)
        seconds = None if ms is None else ms / 1000
        yield "case_seconds", seconds, {**who, "quantile": str(quantile)}
    yield "drift", standing.drift.psi if standing.drift else None, who
    yield "rating", day.rating_sum / day.ratings if day.ratings else None, who


def _ratios(cell: Cell) -> dict[str, float | None]:
    return {
        "success": cell.success,
        "errors": cell.errors,
        "escalated": cell.share("escalated"),
        "degraded": cell.degraded / cell.n if cell.n else None,
        "overridden": cell.override_rate,
        "guarded": cell.guarded / cell.n if cell.n else None,
    }
