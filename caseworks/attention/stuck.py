"""What the report of the lag says to a person: partitions that stand, groups without members. Pure.

A state other than REWIND needs several looks (`--watch`, or the API, which looks again and again).
At a single one, what has waited for long is told instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from caseworks.attention.hints import command
from caseworks.attention.views import Concern, Severity
from caseworks.lag.views import GroupReport, LagReport, PartitionLag

WAITS_S = 600.0
"""A record that has waited for so long, where nothing is known of states, is looked at."""
WORDS = {
    "REWIND": "went back: what it had done may be done again",
    "STOP": "stands still",
    "STALL": "holds at one record, and what is behind it is done",
    "WARN": "falls behind",
}
Instant = Callable[[float | None], str | None]


def of_lag(report: LagReport, instant: Instant) -> Iterator[Concern]:
    """Of all groups that nobody holds back; *instant* writes a time."""
    free = [group for group in report.groups if not group.held]
    yield from _nobody(report, free, instant)
    for group in free:
        if group.members != 0:
            yield from _moves(report, group, instant)


def _nobody(report: LagReport, groups: list[GroupReport], instant: Instant) -> Iterator[Concern]:
    empty = [group for group in groups if group.members == 0]
    loops = [group for group in empty if group.agent is None]
    if loops:
        names = ", ".join(group.group for group in loops)
        yield Concern(
            kind="nobody",
            severity="critical",
            since=instant(_oldest(report, [p for group in loops for p in group.partitions])),
            about=names,
            what=f"no coordinator is at work: {names} without members",
            command=command("coordinator"),
        )
    for group in empty:
        if group.agent is None:
            continue
        waits = f"{group.lag} tasks wait" if group.lag else "nothing waits for it"
        yield Concern(
            kind="nobody",
            severity="critical" if group.lag else "info",
            since=instant(_oldest(report, group.partitions)),
            about=group.group,
            what=f"no worker of {group.agent} is at work; {waits}",
            command=command("worker", of=group.agent),
            agent=group.agent,
        )


def _moves(report: LagReport, group: GroupReport, instant: Instant) -> Iterator[Concern]:
    for state, what in WORDS.items():
        found = [each for each in group.partitions if each.state == state]
        if found:
            yield _told(report, group, found, what, instant, bad=state != "WARN")
    waits = [
        each
        for each in group.partitions
        if each.state is None and each.lag and (each.oldest_age_s or 0) >= WAITS_S
    ]
    if waits:
        oldest_s = max(each.oldest_age_s or 0 for each in waits)
        age = f"has records that wait for {oldest_s / 60:.0f} min"
        yield _told(report, group, waits, age, instant, bad=False)


def _told(
    report: LagReport,
    group: GroupReport,
    found: list[PartitionLag],
    what: str,
    instant: Instant,
    *,
    bad: bool,
) -> Concern:
    first = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    records = sum(each.lag for each in found)
    severity: Severity = "critical" if bad else "warning"
    grows = command("worker", of=group.agent) if group.agent else command("coordinator")
    return Concern(
        kind="stuck" if bad else "behind",
        severity=severity,
        since=instant(_oldest(report, found)),
        about=f"{group.group} {first.topic}:{first.partition}",
        what=f"{group.group} {what}: {first.topic}:{first.partition}{more}, {records} records",
        why=first.why,
        command=command("lag", "--watch", "--partitions") if bad else grows,
        agent=group.agent,
    )


def _oldest(report: LagReport, found: Sequence[PartitionLag]) -> float | None:
    ages = [each.oldest_age_s for each in found if each.oldest_age_s is not None]
    return report.at - max(ages) if ages else None
