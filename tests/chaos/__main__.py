"""`make chaos`: real processes on a genuine Apache Kafka, under load, and everything is counted.

usage: python -m tests.chaos [--only NAME]... [--cases N] [--kills N] [--rate N] [--json FILE]
Exit code 1 when anything was lost, doubled, hung or out of order. Time limits are told, and count
with `--timing`: on a busy machine they say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.chaos.report import lines_of
from tests.chaos.run import Report, run_scenario
from tests.chaos.scenarios import CONTROLS, SCENARIOS, SMOKE, Scenario
from tests.chaos.trial import Ask, Showing, Trial
from tests.chaos.trials import GUARDS, TRIALS, run_trial
from tests.chaos.workload import WORKLOADS

KNOWN = {
    **{each.name: each.about for each in SCENARIOS},
    **{each.name: each.about for each in TRIALS},
    **{each.name: each.about for each in CONTROLS},
}
"""What there is, by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    options = _options(arguments)
    if options.list:
        for name, about in KNOWN.items():
            _say(f"{name:<14} {about}")
        return 0
    workload = WORKLOADS[options.app]()
    reports: list[Report] = []
    for scenario in _chosen(options):
        _say(f"{scenario.name}: {scenario.about}")
        report = run_scenario(
            scenario,
            workload,
            seed=options.seed,
            keep=options.keep,
            told=lambda line: _say(f"  {line}"),
        )
        reports.append(report)
        for line in lines_of([report]):
            _say(line)
    showings = [_try(trial, options) for trial in _tried(options)]
    _say("")
    for line in lines_of(reports) if reports else ():
        _say(line)
    for line in (line for showing in showings for line in showing.lines()):
        _say(line)
    told: list[Report | Showing] = [*reports, *showings]
    if options.json is not None:
        body = [each.as_json() for each in told]
        options.json.write_text(json.dumps(body, indent=1), encoding="utf-8")
    late = options.timing and any(each.late for each in told)
    return 1 if late or not all(each.kept for each in told) else 0


def _try(trial: Trial, options: argparse.Namespace) -> Showing:
    _say(f"{trial.name}: {trial.about}")
    ask = Ask(
        seed=options.seed,
        cases=options.cases,
        times=options.kills,
        rate=options.rate,
        rounds=options.rounds,
        seconds=options.seconds,
        without=options.without,
        keep=options.keep,
        told=lambda line: _say(f"  {line}"),
    )
    return run_trial(trial, ask)


def _tried(options: argparse.Namespace) -> Sequence[Trial]:
    if options.smoke:
        return ()
    return [each for each in TRIALS if not options.only or each.name in options.only]


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    found: Sequence[Scenario] = SCENARIOS
    if options.smoke:
        found = [SMOKE]
    elif options.only:
        found = [each for each in (*SCENARIOS, *CONTROLS) if each.name in options.only]
    changes = {
        name: value
        for name, value in (
            ("cases", options.cases),
            ("times", options.kills),
            ("rate", options.rate),
        )
        if value is not None
    }
    return [replace(scenario, **changes) for scenario in found]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=list(KNOWN), help="may be given again")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--smoke", action="store_true", help="a short one, as in `make test`")
    parser.add_argument("--cases", type=int, help="instead of each scenario's own number")
    parser.add_argument("--kills", type=int, help="faults instead of each scenario's own number")
    parser.add_argument("--rate", type=float, help="cases (tasks, letters) a second")
    parser.add_argument("--rounds", type=int, help="of a trial that measures in rounds")
    parser.add_argument("--seconds", type=float, help="of one measurement, or of the outage")
    parser.add_argument("--without", choices=GUARDS, default="", help="a guard to leave out")
    parser.add_argument("--app", choices=sorted(WORKLOADS), default="noop")
    parser.add_argument("--seed", type=int, default=11, help="of victims and pauses")
    parser.add_argument("--timing", action="store_true", help="time limits count")
    parser.add_argument("--json", type=Path, help="where to write the reports")
    parser.add_argument("--keep", type=Path, help="a folder for data and logs, which then stay")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
