"""The reports as a table for people: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.run import Report, Stalls

_HEAD = ("scenario", "cases", "kills", "lost", "results x2", "tasks x2", "other", "p50 ms", "s")
_LINE = "{:<14} {:>7} {:>6} {:>5} {:>11} {:>9} {:>6} {:>7} {:>5}"


def lines_of(reports: Sequence[Report]) -> Iterator[str]:
    """One line a scenario, below it its stalls, and whatever is wrong."""
    yield _LINE.format(*_HEAD)
    for report in reports:
        yield _line(report)
        for fault, stalls in report.stalls.items():
            yield _times(fault, "stall", stalls)
        for role, back in report.returns.items():
            yield _times(role, "ready", back)
        if report.takeovers_s:
            yield f"    takeovers: {', '.join(f'{each:.2f} s' for each in report.takeovers_s)}"
        if report.duplicates:
            yield f"    {report.duplicates} exits because the name was taken (75)"
        for kind, text in (
            ("ended by itself", report.crashes),
            ("LATE", report.late),
            ("WRONG", report.complaints),
        ):
            yield from (f"    {kind}: {each}" for each in text)
        for kind, examples in report.verdict.examples.items():
            yield f"    {kind.upper()}: {', '.join(examples)}"


def _times(name: str, what: str, found: Stalls) -> str:
    return (
        f"    {name:<26} {found.times:>4} x  {what} median {found.median_s:6.2f} s"
        f"  longest {found.longest_s:6.2f} s"
    )


def _line(report: Report) -> str:
    broken = report.verdict.broken()
    told = [broken.pop(name) for name in ("lost", "doubled_results", "doubled_tasks")]
    found = [*told, sum(broken.values())]
    return _LINE.format(
        report.name,
        report.cases,
        sum(report.kills.values()),
        *(found if report.counted else "????"),
        report.p50_ms,
        round(report.duration_s),
    )
