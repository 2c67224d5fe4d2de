"""What results add to the sums of the overview: counts, money, durations. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from caseworks.projection.glance import ReportGlance, ResultGlance, UsageGlance
from caseworks.projection.measures import bucket_of, nanousd_of
from caseworks.projection.schema import HOUR_S, MINUTE_S

Sums = list[int]
"""n, failed, nanousd, tokens_in, tokens_out, calls."""
WIDTH = 6
_GOOD = frozenset(("done", "skipped", "abandoned"))
_CASE_FAILED = frozenset(("failed", "expired"))
_BY_MINUTE = frozenset(("agent", "workflow"))
"""The overview asks for the last minutes of these; of all others hours are enough."""


@dataclass(slots=True)
class Tallies:
    """Sums by minute, kind and name; cases by second; durations by minute and bucket."""

    sums: dict[tuple[int, str, str], Sums] = field(default_factory=dict)
    seconds: dict[int, list[int]] = field(default_factory=dict)
    """Opened and closed."""
    durations: dict[tuple[int, str, str, int], int] = field(default_factory=dict)

    def opened(self, epoch_s: int) -> None:
        """A case was seen for the first time."""
        self.seconds.setdefault(epoch_s, [0, 0])[0] += 1

    def add(self, result: ResultGlance, before: ResultGlance | None = None) -> None:
        """Count a result; of one that amends another only what it adds."""
        closed = round(result.closed_at.timestamp() * 1000)
        second = closed // 1000
        minute = second // MINUTE_S * MINUTE_S
        spent = result.usage
        failed = int(result.status in _CASE_FAILED)
        known: dict[str, ReportGlance] = {} if before is None else before.steps
        if before is None:
            self.seconds.setdefault(second, [0, 0])[1] += 1
            opened = round(result.opened_at.timestamp() * 1000)
            self._took(minute, "case", "", closed - opened)
            cases = 1
        else:
            spent, cases = _more(spent, before.usage), 0
            self._sum(minute, "status", before.status, -1, 0, _NOTHING)
            failed -= int(before.status in _CASE_FAILED)
        self._sum(minute, "status", result.status, 1, 0, _NOTHING)
        self._sum(minute, "workflow", result.workflow, cases, failed, spent)
        self._sum(minute, "tenant", result.event.tenant or "", cases, failed, spent)
        if result.coalesced_with is None:
            for name, report in result.steps.items():
                if report.agent is not None and known.get(name) != report:
                    self._step(minute, report, known.get(name))

    def _step(self, minute: int, report: ReportGlance, before: ReportGlance | None) -> None:
        agent = report.agent or ""
        spent = report.usage if before is None else _more(report.usage, before.usage)
        self._sum(minute, "agent", agent, 1, int(report.status not in _GOOD), spent)
        self._sum(minute, "version", f"{agent}\t{report.agent_version}", 1, 0, _NOTHING)
        if report.ms:
            self._took(minute, "agent", agent, report.ms)

    def _took(self, minute: int, kind: str, name: str, ms: int) -> None:
        key = (minute, kind, name, bucket_of(ms))
        self.durations[key] = self.durations.get(key, 0) + 1

    def _sum(  # the parts of one line
        self, minute: int, kind: str, name: str, n: int, failed: int, spent: UsageGlance
    ) -> None:
        found = self.sums.get((minute, kind, name))
        if found is None:
            found = self.sums[minute, kind, name] = [0] * WIDTH
        found[0] += n
        found[1] += failed
        if spent is not _NOTHING and spent != _NOTHING:
            found[2] += nanousd_of(spent.usd)
            found[3] += spent.tokens_in
            found[4] += spent.tokens_out
            found[5] += spent.calls

    def rows(self) -> list[tuple[object, ...]]:
        """Sums by span, time, kind and name, as the table has them."""
        hours: dict[tuple[int, str, str], Sums] = defaultdict(lambda: [0] * WIDTH)
        rows: list[tuple[object, ...]] = []
        for (minute, kind, name), sums in self.sums.items():
            if kind in _BY_MINUTE:
                rows.append((MINUTE_S, minute, kind, name, *sums))
            hour = hours[minute // HOUR_S * HOUR_S, kind, name]
            hour[:] = map(sum, zip(hour, sums, strict=True))
        rows += [(HOUR_S, *key, *sums) for key, sums in hours.items()]
        return rows


_NOTHING = UsageGlance()


def _more(spent: UsageGlance, before: UsageGlance) -> UsageGlance:
    """What was spent since."""
    nano = max(0, nanousd_of(spent.usd) - nanousd_of(before.usd))
    return UsageGlance(
        usd=f"{nano}e-9",
        tokens_in=max(0, spent.tokens_in - before.tokens_in),
        tokens_out=max(0, spent.tokens_out - before.tokens_out),
        calls=max(0, spent.calls - before.calls),
    )
