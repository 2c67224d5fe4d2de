"""Plays seeds, and makes a failing run as short as it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from caseworks.app import App
from caseworks.check.invariants import Violation, violations
from caseworks.check.outside import Reach, Watch
from caseworks.check.profiles import scenario_of
from caseworks.check.samples import of_run
from caseworks.check.story import story
from caseworks.simulation import Verdict, simulate
from events.sim_schedule import Schedule, shorten
from schemas.event import Event

TRIES_MAX = 400
"""Runs spent on making a failing one short."""
SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A seed whose run broke a rule."""

    seed: int
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """A finding, as short as it was made, and in words."""

    finding: Finding
    schedule: Schedule
    choices: int
    """How long the schedule was before."""
    violations: tuple[Violation, ...]
    """Of the short run."""
    story: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What is checked: an app, the events of each run, and what runs suffer."""

    app: App
    events: Sequence[Event]
    """What runs choose from."""
    profile: str = ""
    """Empty: each seed draws one."""

    def outside(self, seed: int) -> tuple[Reach, ...]:
        """Play one seed and name what the app reaches for that no simulation holds."""
        watch = Watch(self.app)
        with watch.watching(clock=True):
            self._play(seed, tracing=False)
        return tuple(sorted(watch.found))

    def run(self, seed: int) -> Finding | None:
        """Play one seed."""
        found = broken(self._play(seed, tracing=False))
        return Finding(seed, tuple(found)) if found else None

    def explain(
        self,
        finding: Finding,
        *,
        tries_max: int = TRIES_MAX,
        seconds_max: float = SECONDS_MAX,
        now: Callable[[], float] = monotonic,
    ) -> Explained:
        """Run it again, leave out what is not needed, and tell it."""
        rules = {violation.rule for violation in finding.violations}
        whole = self._play(finding.seed, tracing=True)
        until = now() + seconds_max

        def fails(schedule: Schedule) -> bool:
            if now() > until:
                return False
            again = broken(self._play(finding.seed, tracing=False, schedule=schedule))
            return any(violation.rule in rules for violation in again)

        short = shorten(whole.schedule, fails, tries_max=tries_max)
        last = self._play(finding.seed, tracing=True, schedule=short)
        namespace = last.evidence.settings.namespace
        lines = tuple(story(last.trace, namespace))
        choices = len(whole.schedule)
        return Explained(finding, tuple(short), choices, tuple(broken(last)), lines)

    def _play(self, seed: int, *, tracing: bool, schedule: Schedule | None = None) -> Verdict:
        return simulate(
            self.app,
            of_run(self.events, seed),
            seed,
            scenario=scenario_of(seed, self.profile),
            tracing=tracing,
            schedule=schedule,
        )


def broken(verdict: Verdict) -> list[Violation]:
    """All that is wrong with a run."""
    run = verdict.run
    if run.error is not None:
        return [Violation("crash", f"{type(run.error).__name__}: {run.error}")]
    found = violations(verdict.evidence)
    if run.outcome == "steps":
        found.append(Violation("I4", f"no end after {run.steps} steps"))
    return found
