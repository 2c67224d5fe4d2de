"""What results add to the sums of the overview: counts, money, durations. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from operator import add as add_up
from typing import TypeVar

from caseworks.projection.glance import ResultGlance, UsageGlance
from caseworks.projection.measures import bucket_of, nanousd_of
from caseworks.projection.schema import HOUR_S, MINUTE_S

Sums = list[int]
"""n, failed, nanousd, tokens_in, tokens_out, calls."""
WIDTH = 6
_GOOD = frozenset(("done", "skipped", "abandoned"))
_CASE_FAILED = frozenset(("failed", "expired"))


@dataclass(slots=True)
class Tallies:
    """Sums by minute, cases by second, durations by minute and bucket.

    A result is added in few places; `rows` makes the lines of each kind of them.
    """

    cases: dict[tuple[int, str, str, str], Sums] = field(default_factory=dict)
    """By minute, workflow, tenant and status."""
    steps: dict[tuple[int, str, str], Sums] = field(default_factory=dict)
    """By minute, agent and its version."""
    restated: dict[tuple[int, str], int] = field(default_factory=dict)
    """By minute and status: cases that have another one now, or have this one instead."""
    seconds: dict[int, list[int]] = field(default_factory=dict)
    """Opened and closed."""
    durations: dict[tuple[int, str, str, int], int] = field(default_factory=dict)

    def opened(self, epoch_s: int) -> None:
        """A case was seen for the first time."""
        self.seconds.setdefault(epoch_s, [0, 0])[0] += 1

    def add(self, result: ResultGlance, tenant: str | None, opened: int, closed: int) -> None:
        """Count the first result of a case; times in milliseconds."""
        second = closed // 1000
        minute = second // MINUTE_S * MINUTE_S
        failed = int(result.status in _CASE_FAILED)
        _sum(
            self.cases,
            (minute, result.workflow, tenant or "", result.status),
            1,
            failed,
            result.usage,
        )
        self.seconds.setdefault(second, [0, 0])[1] += 1
        self._took(minute, "case", "", closed - opened)
        if result.coalesced_with is not None:
            return  # its steps were another case's
        for report in result.steps.values():
            agent = report.agent
            if agent is not None:
                failed = int(report.status not in _GOOD)
                _sum(self.steps, (minute, agent, report.agent_version), 1, failed, report.usage)
                if report.ms:
                    self._took(minute, "agent", agent, report.ms)

    def amend(
        self, result: ResultGlance, tenant: str | None, before: ResultGlance, closed: int
    ) -> None:
        """Count what a result adds to the one that it amends."""
        minute = closed // 1000 // MINUTE_S * MINUTE_S
        for status, n in ((before.status, -1), (result.status, 1)):
            self.restated[minute, status] = self.restated.get((minute, status), 0) + n
        failed = int(result.status in _CASE_FAILED) - int(before.status in _CASE_FAILED)
        place = (minute, result.workflow, tenant or "", result.status)
        _sum(self.cases, place, 0, failed, _more(result.usage, before.usage))
        for name, report in result.steps.items():
            known = before.steps.get(name)
            if report.agent is None or report == known:
                continue
            spent = report.usage if known is None else _more(report.usage, known.usage)
            failed = int(report.status not in _GOOD)
            _sum(self.steps, (minute, report.agent, report.agent_version), 1, failed, spent)
            if report.ms:
                self._took(minute, "agent", report.agent, report.ms)

    def _took(self, minute: int, kind: str, name: str, ms: int) -> None:
        key = (minute, kind, name, bucket_of(ms))
        self.durations[key] = self.durations.get(key, 0) + 1

    def rows(self) -> list[tuple[object, ...]]:
        """Sums by span, time, kind and name, as the table has them."""
        found: dict[tuple[int, int, str, str], Sums] = defaultdict(lambda: [0] * WIDTH)

        def add(span: int, minute: int, kind: str, name: str, sums: Sums) -> None:
            line = found[span, minute // span * span, kind, name]
            line[:] = map(add_up, line, sums)

        for (minute, workflow, tenant, status), sums in self.cases.items():
            add(MINUTE_S, minute, "workflow", workflow, sums)
            add(HOUR_S, minute, "workflow", workflow, sums)
            add(HOUR_S, minute, "tenant", tenant, sums)
            add(HOUR_S, minute, "status", status, sums)
        for (minute, status), n in self.restated.items():
            add(HOUR_S, minute, "status", status, [n, 0, 0, 0, 0, 0])
        for (minute, agent, version), sums in self.steps.items():
            add(MINUTE_S, minute, "agent", agent, sums)
            add(HOUR_S, minute, "agent", agent, sums)
            add(HOUR_S, minute, "version", f"{agent}\t{version}", sums)
        return [(*key, *sums) for key, sums in found.items()]


K = TypeVar("K")


def _sum(table: dict[K, Sums], key: K, n: int, failed: int, spent: UsageGlance) -> None:
    found = table.get(key)
    if found is None:
        found = table[key] = [0] * WIDTH
    found[0] += n
    found[1] += failed
    if spent.calls or spent.tokens_in or spent.tokens_out or spent.usd != "0":
        found[2] += nanousd_of(spent.usd)
        found[3] += spent.tokens_in
        found[4] += spent.tokens_out
        found[5] += spent.calls


def _more(spent: UsageGlance, before: UsageGlance) -> UsageGlance:
    """What was spent since."""
    nano = max(0, nanousd_of(spent.usd) - nanousd_of(before.usd))
    return UsageGlance(
        usd=f"{nano}e-9",
        tokens_in=max(0, spent.tokens_in - before.tokens_in),
        tokens_out=max(0, spent.tokens_out - before.tokens_out),
        calls=max(0, spent.calls - before.calls),
    )
