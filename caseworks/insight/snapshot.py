"""What the role writes for everybody else: `data_dir/insight/<namespace>.json`, always whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from caseworks.insight.cells import Cell, merged
from caseworks.insight.rates import Standing, rates
from caseworks.insight.tables import Tables
from caseworks.insight.windows import ALL, TABLES
from events.envelope import rfc3339
from events.errors import SetupError
from schemas.alert import Alert

SNAPSHOT_VERSION = 1

Snapshot = dict[str, Any]


def snapshot(
    tables: Tables,
    standings: Sequence[Standing],
    alerts: Iterable[Alert],
    *,
    namespace: str,
    now: float,
    business: dict[str, Any] | None,
) -> Snapshot:
    """The tables as JSON; the shape stands in `README.md`."""
    return {
        "v": SNAPSHOT_VERSION,
        "namespace": namespace,
        "at": rfc3339(now).decode(),
        "days": round(tables.days(now), 4),
        "positions": {str(each): offset for each, offset in sorted(tables.positions().items())},
        "subjects": [_subject(each) for each in standings],
        "series": {table.name: _series(tables, table.name) for table in TABLES},
        "tables": {table.name: _totals(tables, table.name) for table in TABLES},
        "alerts": [json.loads(alert.to_json()) for alert in alerts],
        "business": business,
        "counted_as_other": tables.book.refused,
    }


def _subject(standing: Standing) -> dict[str, Any]:
    drift = standing.drift
    return {
        "kind": standing.subject.kind,
        "name": standing.subject.name,
        "hour": rates(standing.hour),
        "day": rates(standing.day),
        "month": rates(standing.month),
        "drift": None
        if drift is None
        else {
            "ks": drift.ks,
            "p": drift.p,
            "psi": drift.psi,
            "recent": drift.recent,
            "baseline": drift.baseline,
            "drifted": drift.drifted,
        },
    }


def _series(tables: Tables, name: str) -> list[dict[str, Any]]:
    """All cases by window, the oldest first."""
    found: dict[int, list[Cell]] = {}
    for subject, start, cell in tables.entries(name, lambda _: True):
        if subject == ALL:
            found.setdefault(start, []).append(cell)
    return [{"start": start, **rates(merged(found[start]))} for start in sorted(found)]


def _totals(tables: Tables, name: str) -> dict[str, Any]:
    """The sums over every window that is kept, by `kind|name`: what a count can be held against."""
    found: dict[str, list[Cell]] = {}
    for subject, _, cell in tables.entries(name, lambda _: True):
        found.setdefault(f"{subject.kind}|{subject.name}", []).append(cell)
    return {key: _raw(merged(found[key])) for key in sorted(found)}


def _raw(cell: Cell) -> Any:
    cell.position = -1
    return msgspec.to_builtins(cell, str_keys=True)


def cells_of(found: Snapshot, kind: str) -> dict[str, Cell]:
    """The sums of 35 days of a kind, by name, as they stand in a snapshot."""
    totals = found["tables"]["day"]
    return {
        key.partition("|")[2]: msgspec.convert(raw, Cell, strict=False)
        for key, raw in totals.items()
        if key.startswith(f"{kind}|")
    }


def path_of(data_dir: Path, namespace: str) -> Path:
    """Where the snapshot of a namespace stands."""
    return data_dir / "insight" / f"{namespace}.json"


def write(path: Path, found: Snapshot) -> None:
    """Put it in the place of the last one, so that a reader sees one or the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(found, separators=(",", ":"), allow_nan=False), encoding="utf-8")
    beside.replace(path)


def read(path: Path) -> Snapshot:
    """The last snapshot. Raises `SetupError` when there is none, or another version's."""
    hint = "start it: caseworks insight, or caseworks up --insight"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SetupError(f"there is no {path}: insight has not run here", hint=hint) from None
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read: {error}", hint=hint) from None
    if not isinstance(found, dict) or found.get("v") != SNAPSHOT_VERSION:
        raise SetupError(f"{path} is of another version", hint=hint)
    return found
