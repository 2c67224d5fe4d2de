"""One scenario from its start to its report."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.accountant import Accountant, Verdict
from tests.chaos.audit import HiddenEndError, audit
from tests.chaos.crew import LateError
from tests.chaos.load import Pace, Seen
from tests.chaos.scenarios import STALL_S_MAX, TAKEOVER_S_MAX, Scenario
from tests.chaos.silence import stalls_of
from tests.chaos.workload import Workload
from tests.chaos.world import NAMESPACE, READY_TIMEOUT_S, World, world

WARM_UP_CASES_MAX = 1000
"""Before the first fault: the broker's compiler is slow at first."""
WARM_UP_TIMEOUT_S = 60.0
DRAIN_S = 60.0
"""How long after the last fault answers may take: session timeouts and transaction time-outs."""
AFTER_S = 2.0
"""The load goes on for so long after the last fault is over."""
SETTLE_S = 3.0
"""What is doubled may come late: nobody ends before."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stalls:
    """Of the faults of one kind, in seconds."""

    times: int
    median_s: float
    longest_s: float


@dataclass(slots=True)
class Report:
    """What a scenario showed."""

    name: str
    cases: int = 0
    faults: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    counted: bool = False
    """Whether the account was made: without it the verdict says nothing."""
    stalls: dict[str, Stalls] = field(default_factory=dict)
    returns: dict[str, Stalls] = field(default_factory=dict)
    """How long until the next process of a name was ready: what the machine takes of a stall."""
    takeovers_s: list[float] = field(default_factory=list)
    normal_gap_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    repeated: int = 0
    duplicates: int = 0
    """Exits because the name was taken."""
    crashes: list[str] = field(default_factory=list)
    """Processes that ended although nobody had killed or stopped them."""
    complaints: list[str] = field(default_factory=list)
    """What else went wrong: something that never came, a limit of the harness."""
    duration_s: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether nothing was lost, doubled, hung or out of order."""
        return self.counted and self.verdict.clean and not self.complaints

    @property
    def late(self) -> list[str]:
        """Which time limits were missed. They say something on a machine that is not busy."""
        found = []
        stalls = self.stalls.get("kill coordinator")
        # Beside kills of workers a silence may be theirs.
        if stalls and "kill worker" not in self.stalls and stalls.longest_s > STALL_S_MAX:
            found.append(f"kill coordinator: {stalls.longest_s:.2f} s, at most {STALL_S_MAX:g}")
        if self.takeovers_s and max(self.takeovers_s) > TAKEOVER_S_MAX:
            found.append(f"takeover: {max(self.takeovers_s):.2f} s, at most {TAKEOVER_S_MAX:g}")
        return found

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"kept": self.kept, "late": self.late}


def run_scenario(
    scenario: Scenario,
    workload: Workload,
    *,
    seed: int,
    keep: Path | None = None,
    told: Told = lambda _line: None,
) -> Report:
    """Run it; what happens is in the report. Nothing is left behind, but for the folder *keep*."""
    begun, report = time.monotonic(), Report(scenario.name)
    try:
        with world(scenario.setup, workload, Pace(scenario.rate), seed, keep) as running:
            running.deadline = begun + scenario.limit_s
            accountant = _play(running, scenario, report, told)
            audit(running.cluster.bootstrap, NAMESPACE, accountant)
            report.verdict, report.counted = accountant.verdict(), True
    except (LateError, HiddenEndError) as error:
        report.complaints.append(str(error))
    report.duration_s = round(time.monotonic() - begun, 1)
    return report


def _play(running: World, scenario: Scenario, report: Report, told: Told) -> Accountant:
    """Load, faults, drain; the processes are gone when it returns."""
    load = running.load
    try:
        _warm_up(running, scenario)
        load.goal = _warm_up_cases(scenario) + scenario.cases
        load.endless = True
        for number in range(scenario.times):
            _wait_turn(running, scenario, number)
            fault = scenario.faults[number % len(scenario.faults)]
            told(f"{scenario.name} {number + 1}/{scenario.times}: {fault.label}")
            fault.do(running)
        running.crew.wait_ready(READY_TIMEOUT_S)
        running.wait(AFTER_S)
        load.endless = False
        running.wait_until(lambda: load.all_published, DRAIN_S + scenario.cases / scenario.rate)
        if running.wait_answered(DRAIN_S) is None:
            told(f"{scenario.name}: {load.seen.in_flight} cases unanswered")
        running.wait(SETTLE_S)
    finally:
        load.endless = False
        running.crew.close()
        load.stop()
        _measured(running, report, _warm_up_cases(scenario))
    return Accountant(load.seen.published, running.cast.workload.needs, running.cast.workload.right)


def _warm_up_cases(scenario: Scenario) -> int:
    return min(WARM_UP_CASES_MAX, scenario.cases // 2)


def _warm_up(running: World, scenario: Scenario) -> None:
    running.load.goal = _warm_up_cases(scenario)
    running.wait_until(lambda: running.load.all_answered, WARM_UP_TIMEOUT_S)


def _wait_turn(running: World, scenario: Scenario, number: int) -> None:
    """Faults are spread over the cases, with a pause after everybody is back.

    Otherwise a stall would be that of two faults; `early-kills` and `storm` overlap on purpose.
    """
    running.crew.wait_ready(READY_TIMEOUT_S)
    load = running.load
    due = _warm_up_cases(scenario) + scenario.cases * (number + 1) // (scenario.times + 1)
    running.wait(running.chance.uniform(*scenario.pause_s))
    running.wait_until(lambda: len(load.seen.sent) >= due, DRAIN_S)


def _measured(running: World, report: Report, warm_up_cases: int) -> None:
    seen, silences = running.load.seen, running.load.silences
    report.cases, report.repeated = len(seen.published), seen.repeated
    report.faults, report.kills = len(running.marks), running.kills
    returns = running.crew.returns_s
    report.returns = {role: _stalls(found) for role, found in sorted(returns.items())}
    report.takeovers_s = [round(each, 2) for each in running.takeovers_s]
    report.duplicates = running.crew.deaths.duplicates
    report.crashes = running.crew.deaths.crashes
    report.complaints += running.complaints
    report.complaints += _aborted(running)
    report.normal_gap_ms = round(1000 * silences.normal_s, 1)
    report.p50_ms, report.p99_ms = _latencies_ms(seen, warm_up_cases)
    by_fault: dict[str, list[float]] = defaultdict(list)
    for mark, stall in stalls_of(silences, running.marks, time.monotonic()):
        by_fault[mark.fault].append(stall)
    report.stalls = {name: _stalls(found) for name, found in sorted(by_fault.items())}


def _aborted(running: World) -> list[str]:
    """Processes that a signal ended which nobody sent: a client library that failed an assertion.

    Mutants kill themselves.
    """
    ended = [] if running.cast.mutant else running.crew.deaths.crashes
    return [f"aborted: {each}" for each in ended if ": -" in each]


def _stalls(found: Sequence[float]) -> Stalls:
    return Stalls(len(found), round(median(found), 2), round(max(found), 2))


def _latencies_ms(seen: Seen, warm_up_cases: int) -> tuple[float, float]:
    """Of what was published after the warm-up."""
    measured = list(seen.sent)[warm_up_cases:]
    found = sorted(
        1000 * (seen.answered[name] - seen.sent[name]) for name in measured if name in seen.answered
    )
    if not found:
        return 0.0, 0.0
    return round(found[len(found) // 2], 1), round(found[int(len(found) * 0.99)], 1)
