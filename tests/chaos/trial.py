"""A trial: a promise with a number, measured on real processes, beside the limit that it must keep.

Scenarios (`tests.chaos.scenarios`) do harm and count what came of it; a trial says how well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.accountant import Verdict

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """How much of it; what is left out is the trial's own number."""

    seed: int = 11
    cases: int | None = None
    times: int | None = None
    """Faults."""
    rate: float | None = None
    """Of events, tasks or letters, in a second."""
    rounds: int | None = None
    seconds: float | None = None
    """Of one measurement, or of the outage."""
    without: str = ""
    """The guard that is left out."""
    keep: Path | None = None
    told: Told = lambda _line: None


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its limits; `is_timing`: on a busy machine it says nothing."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    is_timing: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is within its limits."""
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    def line(self) -> str:
        """For people."""
        limits = [f">= {self.least:g}"] if self.least is not None else []
        limits += [f"<= {self.most:g}"] if self.most is not None else []
        word = "" if self.kept else "  LATE" if self.is_timing else "  WRONG"
        return f"    {self.name:<46} {self.value:>10.5g} {self.unit:<9} {', '.join(limits)}{word}"


@dataclass(slots=True)
class Showing:
    """What a trial showed."""

    name: str
    about: str = ""
    figures: list[Figure] = field(default_factory=list)
    verdict: Verdict | None = None
    complaints: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)
    """Raw measurements, for `--json`."""
    ended: bool = False
    duration_s: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, time limits aside."""
        figures = all(each.kept for each in self.figures if not each.is_timing)
        counted = self.verdict is None or self.verdict.clean
        return self.ended and figures and counted and not self.complaints

    @property
    def late(self) -> list[str]:
        """The time limits that were missed."""
        return [each.name for each in self.figures if each.is_timing and not each.kept]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"kept": self.kept, "late": self.late}

    def lines(self) -> Iterator[str]:
        """For people."""
        word = "kept" if self.kept else "BROKEN"
        yield f"{self.name}: {word}, {self.duration_s:.0f} s"
        yield from (each.line() for each in self.figures)
        if self.verdict is not None:
            broken = {name: n for name, n in self.verdict.broken().items() if n}
            yield f"    {self.verdict.events} events, {self.verdict.results} results: " + (
                str(broken) if broken else "nothing lost, doubled or hung"
            )
            for kind, examples in self.verdict.examples.items():
                yield f"    {kind.upper()}: {', '.join(examples)}"
        yield from (f"    WRONG: {each}" for each in self.complaints)


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of the table: *run* fills the showing; what it raises as late is a complaint."""

    name: str
    about: str
    run: Callable[[Ask, Showing], None]
    limit_s: float = 600.0


def median_of(values: list[float]) -> float:
    """The middle one; of none, nothing."""
    found = sorted(values)
    return found[len(found) // 2] if found else 0.0


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0
