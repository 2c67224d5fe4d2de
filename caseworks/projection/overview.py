"""The overview, what was spent, and how far behind the projection is: sums of small tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from caseworks.projection.connection import Reading
from caseworks.projection.measures import instant_of, quantile, usd_of
from caseworks.projection.paging import LIMIT_MAX
from caseworks.projection.schema import HOUR_S, LOG_OPEN, MINUTE_S
from caseworks.projection.views import (
    AgentLine,
    Behind,
    BreakerView,
    Overview,
    Pace,
    SpendLine,
)

SECONDS_SHOWN = 60
RECENT_S = 300
"""What counts as now for durations and agents."""
DAY_S = 86_400
EXPIRING_S = 900
"""A question that expires within this is expiring."""
WRITER_LATE_S = 5.0
"""A writer that said nothing for so long is counted as behind for all that time."""


def behind_of(reading: Reading, now: float) -> Behind:
    """As the writer said last, and older by the time since where it says nothing any more."""
    said: dict[str, str] = dict(reading.rows("SELECT name, value FROM meta"))
    told: dict[str, Any] = json.loads(said.get("behind", "{}"))
    at = told.get("at")
    silent_s = max(0.0, now - at) if at is not None else 0.0
    late = silent_s > WRITER_LATE_S
    return Behind(
        records=told.get("records", 0),
        seconds=round(told.get("seconds", 0.0) + (silent_s if late else 0.0), 3),
        updated_at=instant_of(round(at * 1000)) if at is not None else None,
        ready="caught_up" in said and at is not None and not late,
    )


def overview_of(reading: Reading, now: float) -> Overview:
    """How everything stands."""
    minute = int(now) // MINUTE_S * MINUTE_S
    recent = minute - RECENT_S
    durations = _durations(reading, recent)
    latency = durations.get(("case", ""), [])
    breakers, paused = _control(reading)
    return Overview(
        at=instant_of(round(now * 1000)) or "",
        cases_open=_count(reading, f"cases WHERE log = {LOG_OPEN}"),
        by_status=_by_status(reading, now),
        per_second=_pace(reading, int(now)),
        p50_ms=quantile(latency, 0.5),
        p99_ms=quantile(latency, 0.99),
        usd_today=usd_of(_spent(reading, int(now) // DAY_S * DAY_S)),
        usd_per_hour=usd_of(_spent(reading, minute - HOUR_S)),
        approvals_open=_count(reading, "approvals WHERE status = 'open'"),
        approvals_expiring=_count(
            reading,
            "approvals WHERE status = 'open' AND expires < ?",
            round((now + EXPIRING_S) * 1000),
        ),
        letters_waiting=_count(
            reading, "letters l LEFT JOIN handled h USING (place) WHERE h.action IS NULL"
        ),
        breakers=breakers,
        agents=_agents(reading, now, recent, durations, paused, breakers),
        behind=behind_of(reading, now),
    )


def spend_of(reading: Reading, by: str, since: float, tenant: str | None) -> list[SpendLine]:
    """Sums of the hours since a time."""
    rows = reading.rows(
        "SELECT name, sum(nanousd), sum(tokens_in), sum(tokens_out), sum(calls), sum(n) "
        "FROM tally WHERE span = ? AND at >= ? AND kind = ? AND (? IS NULL OR name = ?) "
        "GROUP BY name ORDER BY 2 DESC, 1 LIMIT ?",
        (HOUR_S, int(since) // HOUR_S * HOUR_S, by, tenant, tenant, LIMIT_MAX),
    )
    return [
        SpendLine(
            key=name,
            usd=usd_of(nanousd),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            calls=calls,
            cases=n,
        )
        for name, nanousd, tokens_in, tokens_out, calls, n in rows
    ]


def _count(reading: Reading, what: str, *values: object) -> int:
    found: int = reading.rows(f"SELECT count(*) FROM {what}", values)[0][0]  # noqa: S608
    return found


def _by_status(reading: Reading, now: float) -> dict[str, int]:
    rows = reading.rows(
        "SELECT name, sum(n) FROM tally WHERE span = ? AND at >= ? AND kind = 'status' "
        "GROUP BY name",
        (HOUR_S, int(now - DAY_S) // HOUR_S * HOUR_S + HOUR_S),
    )
    return {name: n for name, n in rows if n}


def _spent(reading: Reading, since: int) -> int:
    rows = reading.rows(
        "SELECT sum(nanousd) FROM tally WHERE span = ? AND at >= ? AND kind = 'workflow'",
        (MINUTE_S, since),
    )
    return rows[0][0] or 0


def _pace(reading: Reading, second: int) -> Pace:
    """The last whole seconds: the one that runs is not over."""
    first = second - SECONDS_SHOWN
    found = {
        at: (opened, closed)
        for at, opened, closed in reading.rows(
            "SELECT at, opened, closed FROM seconds WHERE at >= ? AND at < ?", (first, second)
        )
    }
    shown = [found.get(at, (0, 0)) for at in range(first, second)]
    return Pace(opened=[o for o, _ in shown], closed=[c for _, c in shown])


Durations = dict[tuple[str, str], list[tuple[int, int]]]


def _durations(reading: Reading, since: int) -> Durations:
    found: Durations = defaultdict(list)
    for kind, name, bucket, n in reading.rows(
        "SELECT kind, name, bucket, sum(n) FROM latency WHERE at >= ? "
        "GROUP BY kind, name, bucket ORDER BY kind, name, bucket",
        (since,),
    ):
        found[kind, name].append((bucket, n))
    return dict(found)


def _control(reading: Reading) -> tuple[list[BreakerView], set[str]]:
    """The breakers, and the agents that are paused."""
    breakers, paused = [], set()
    for name, value in reading.rows("SELECT name, value FROM control ORDER BY name"):
        said = msgspec.json.decode(value)
        if name.startswith("breaker:"):
            breakers.append(
                BreakerView(
                    dependency=said["dependency"],
                    state=said.get("state", "closed"),
                    since=said.get("at"),
                    held=said.get("held", False),
                    reason=said.get("reason", ""),
                    by=said.get("by", ""),
                )
            )
        elif name.startswith("pause:") and said.get("paused"):
            paused.add(said["agent"])
    return breakers, paused


def _agents(
    reading: Reading,
    now: float,
    recent: int,
    durations: Durations,
    paused: Iterable[str],
    breakers: Iterable[BreakerView],
) -> list[AgentLine]:
    versions: dict[str, list[str]] = {agent: [] for agent in sorted(paused)}
    for (name,) in reading.rows(
        "SELECT DISTINCT name FROM tally WHERE span = ? AND at >= ? AND kind = 'version'",
        (HOUR_S, int(now) - DAY_S),
    ):
        agent, _, version = name.partition("\t")
        versions.setdefault(agent, []).append(version)
    done = {
        name: (n, failed)
        for name, n, failed in reading.rows(
            "SELECT name, sum(n), sum(failed) FROM tally "
            "WHERE span = ? AND at >= ? AND kind = 'agent' GROUP BY name",
            (MINUTE_S, recent),
        )
    }
    states = {each.dependency: each.state for each in breakers}
    return [
        AgentLine(
            agent=agent,
            versions=[version for version in known if version],
            tasks_5m=done.get(agent, (0, 0))[0],
            failed_5m=done.get(agent, (0, 0))[1],
            p50_ms=quantile(durations.get(("agent", agent), []), 0.5),
            p99_ms=quantile(durations.get(("agent", agent), []), 0.99),
            paused=agent in paused,
            breaker=states.get(agent),
        )
        for agent, known in sorted(versions.items())
    ]
