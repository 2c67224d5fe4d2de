"""What the tables say of each subject over the last hour, day and 35 days. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from caseworks.insight.cells import Cell, merged
from caseworks.insight.drift import Drift, drift
from caseworks.insight.tables import Tables
from caseworks.insight.windows import DAY, HOUR, KINDS, MINUTE, Subject, WindowTable

HOUR_S = 3600
DAY_S = 86_400
DRIFT_SAMPLES_MIN = 200


@dataclass(frozen=True, slots=True)
class Standing:
    """One subject. Times reach back from the moment of the snapshot, to whole windows."""

    subject: Subject
    recent: Cell
    """The window of alerts, from minutes."""
    hour: Cell
    """From minutes."""
    day: Cell
    """From hours."""
    month: Cell
    """Everything that is kept: 35 days."""
    drift: Drift | None
    """The confidences of the last hour against those of the days before it."""


@dataclass(slots=True)
class _Parts:
    recent: list[Cell] = field(default_factory=list)
    hour: list[Cell] = field(default_factory=list)
    day: list[Cell] = field(default_factory=list)
    month: list[Cell] = field(default_factory=list)
    before: list[Cell] = field(default_factory=list)


def standings(tables: Tables, now: float, recent_s: float) -> list[Standing]:
    """Every subject that has a cell, in order. `now` in seconds since the epoch."""
    found: dict[Subject, _Parts] = {}
    within(tables, MINUTE, now - recent_s, lambda each: each.recent, found)
    within(tables, MINUTE, now - HOUR_S, lambda each: each.hour, found)
    within(tables, HOUR, now - DAY_S, lambda each: each.day, found)
    within(tables, DAY, now - DAY.keep_s, lambda each: each.month, found)
    for subject, start, cell in tables.entries(HOUR.name, lambda at: at <= now - 2 * HOUR_S):
        del start
        found.setdefault(subject, _Parts()).before.append(cell)
    ordered = sorted(found, key=lambda each: (KINDS.index(each.kind), each.name))
    return [_standing(subject, found[subject]) for subject in ordered]


def within(
    tables: Tables,
    table: WindowTable,
    since: float,
    part: Callable[[_Parts], list[Cell]],
    found: dict[Subject, _Parts],
) -> None:
    """Collect the cells of windows that end after *since*."""
    for subject, _, cell in tables.entries(table.name, lambda at: at + table.size_s > since):
        part(found.setdefault(subject, _Parts())).append(cell)


def _standing(subject: Subject, parts: _Parts) -> Standing:
    hour = merged(parts.hour)
    baseline = merged(parts.before)
    return Standing(
        subject=subject,
        recent=merged(parts.recent),
        hour=hour,
        day=merged(parts.day),
        month=merged(parts.month),
        drift=drift(hour.confidence, baseline.confidence, DRIFT_SAMPLES_MIN),
    )


def rates(cell: Cell) -> dict[str, float | int | str | None]:
    """A cell as people read it: shares from 0 to 1, times in milliseconds, money as text."""
    return {
        "cases": cell.n,
        "success": _short(cell.success),
        "errors": _short(cell.errors),
        "escalated": _short(cell.share("escalated")),
        "degraded": _short(cell.degraded / cell.n if cell.n else None),
        "overridden": _short(cell.override_rate),
        "decisions": cell.decisions,
        "guarded": _short(cell.guarded / cell.n if cell.n else None),
        "confidence": _short(cell.mean_confidence),
        "amended": cell.amended,
        "usd": f"{cell.usd:f}",
        "usd_per_case": f"{cell.usd / cell.n:.6f}" if cell.n else None,
        "p50_ms": _short(cell.quantile(0.5)),
        "p99_ms": _short(cell.quantile(0.99)),
        "ratings": cell.ratings,
        "rating": _short(cell.rating_sum / cell.ratings if cell.ratings else None),
        "corrected": cell.corrected,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
