"""What insight finds as metrics of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from caseworks.insight.alerts import Episodes
from caseworks.insight.cells import Cell
from caseworks.insight.rates import Standing
from events.metrics import Telemetry

RULES = ("errors", "confidence", "guards", "drift")


def tell(
    telemetry: Telemetry,
    standings: Iterable[Standing],
    episodes: Episodes,
    business: dict[str, Any] | None,
) -> None:
    """Set the gauges; what has no value any more is left as it was last known."""
    for standing in standings:
        kind, name = standing.subject.kind, standing.subject.name
        telemetry.set("caseworks_insight_cases", standing.hour.n, kind=kind, name=name)
        for of, value in _ratios(standing.hour).items():
            if value is not None:
                telemetry.set("caseworks_insight_ratio", value, kind=kind, name=name, of=of)
        _means(telemetry, standing, kind, name)
    for rule in RULES:
        firing = sum(1 for each, _ in episodes.open if each == rule)
        telemetry.set("caseworks_insight_alerts", firing, rule=rule)
    if business is not None:
        telemetry.set("caseworks_insight_hours_saved", business["hours_saved"])
        telemetry.set("caseworks_insight_net_benefit_usd", business["net_benefit_usd"])


def _ratios(cell: Cell) -> dict[str, float | None]:
    return {
        "success": cell.success,
        "errors": cell.errors,
        "escalated": cell.share("escalated"),
        "degraded": cell.degraded / cell.n if cell.n else None,
        "overridden": cell.override_rate,
        "guarded": cell.guarded / cell.n if cell.n else None,
    }


def _means(telemetry: Telemetry, standing: Standing, kind: str, name: str) -> None:
    hour, day = standing.hour, standing.day
    confidence = hour.mean_confidence
    if confidence is not None:
        telemetry.set("caseworks_insight_confidence", confidence, kind=kind, name=name)
    if hour.n:
        telemetry.set("caseworks_insight_case_usd", float(hour.usd) / hour.n, kind=kind, name=name)
    for quantile in (0.5, 0.99):
        ms = hour.quantile(quantile)
        if ms is not None:
            telemetry.set(
                "caseworks_insight_case_seconds",
                ms / 1000,
                kind=kind,
                name=name,
                quantile=quantile,
            )
    if standing.drift is not None:
        telemetry.set("caseworks_insight_drift", standing.drift.psi, kind=kind, name=name)
    if day.ratings:
        rating = day.rating_sum / day.ratings
        telemetry.set("caseworks_insight_rating", rating, kind=kind, name=name)
