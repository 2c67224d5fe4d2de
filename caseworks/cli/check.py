"""`check`: an app in the simulator, killed at every step, many times."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import DEFAULT_APP, AppOption, JsonOption
from caseworks.cli.output import note, plain, say, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caseworks.check.pool import Answer
    from caseworks.check.runs import Check, Explained, Finding

SHOWN_MAX = 10
"""Violations of one run that are shown."""
FOUND_MAX = 3
"""After so many failing seeds it stops; the first of them is explained."""
TELL_EVERY_S = 0.5


def check(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    *,
    runs: Annotated[int, typer.Option(min=1, help="How many runs, of five events each.")] = 200,
    seed: Annotated[int, typer.Option(help="The first run's; the next one's is one more.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes that play.")] = 1,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="JSONL",
            help="Events to choose from; default: the app's demo, else made from its schemas.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="What goes wrong; default: each run draws.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Play an app in the simulator under faults, and check what must hold after each run."""
    if context.obj is None:
        _hash_as_always()
    from caseworks.check.pool import check_of
    from caseworks.check.profiles import FAULTS

    if profile and profile not in FAULTS:
        raise typer.BadParameter(f"{profile!r} is none of {', '.join(FAULTS)}", context)
    with _quiet():
        made = check_of(app, events, profile)
        reached = made.outside(seed)
        if reached:
            _tell_outside(reached, as_json=as_json)
            raise typer.Exit(1)
        seeds = range(seed, seed + runs)
        found, played, rate = _play(made, seeds, jobs, (app, events, profile))
        explained = made.explain(found[0]) if found else None
    _tell(found, played, rate, explained, as_json=as_json)
    raise typer.Exit(1 if found else 0)


def _hash_as_always() -> None:
    """The order of sets depends on the hash seed: with another one, a run is another run."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "caseworks", *sys.argv[1:]]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, command, environment)  # noqa: S606 - this very command again


def _quiet() -> Any:
    """Agents and loops log what goes wrong; here that is the point."""
    import logging
    from contextlib import contextmanager

    @contextmanager
    def quiet() -> Iterator[None]:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)

    return quiet()


def _play(
    made: Check, seeds: Sequence[int], jobs: int, asked: tuple[str, Path | None, str]
) -> tuple[list[Finding], int, float]:
    """What was found, how many runs that took, and runs per second."""
    from time import monotonic

    from caseworks.check.pool import play, play_on

    began = told = monotonic()
    answers: Iterator[Answer] = play(made, seeds) if jobs == 1 else play_on(jobs, *asked, seeds)
    found: list[Finding] = []
    played = 0
    for count, findings in answers:
        played += count
        found += findings
        now = monotonic()
        if now - told > TELL_EVERY_S and sys.stderr.isatty():
            told = now
            line = f"{played} of {len(seeds)} runs, {played / (now - began):.0f} runs/s"
            _draw(f"\r{line}, {len(found)} with a violation ")
        if len(found) >= FOUND_MAX:
            break
    if sys.stderr.isatty():
        _draw("\r\x1b[K")
    found.sort(key=lambda finding: finding.seed)
    return found, played, played / max(monotonic() - began, 1e-9)


def _draw(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


# --- what is said


def _tell_outside(reached: Sequence[object], *, as_json: bool) -> None:
    if as_json:
        write_json({"outside": [str(each) for each in reached]})
        return
    for each in reached:
        say(plain(each))
    note("a run that reaches outside cannot be repeated: nothing was checked")


def _tell(
    found: Sequence[Finding],
    played: int,
    rate: float,
    explained: Explained | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        write_json(_as_json(found, played, rate, explained))
        return
    say(f"{played} runs, {rate:.1f} runs/s, {len(found) or 'no'} with a violation")
    for finding in found:
        say(f"seed {finding.seed}:")
        for violation in finding.violations[:SHOWN_MAX]:
            say(f"  {plain(violation)}")
    if explained is None:
        return
    short = len(explained.schedule)
    say(f"seed {explained.finding.seed}, made short: {short} of {explained.choices} choices")
    for line in explained.story:
        say(plain(line))
    for violation in explained.violations[:SHOWN_MAX]:
        say(f"=> {plain(violation)}")
    say(f"again: caseworks check --seed {explained.finding.seed} --runs 1 and the same --app")


def _as_json(
    found: Sequence[Finding], played: int, rate: float, explained: Explained | None
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "runs": played,
        "runs_per_s": round(rate, 1),
        "violations": [
            {"seed": finding.seed, "rule": each.rule, "text": each.text}
            for finding in found
            for each in finding.violations
        ],
    }
    if explained is not None:
        said["explained"] = {
            "seed": explained.finding.seed,
            "choices": len(explained.schedule),
            "choices_before": explained.choices,
            "violations": [str(each) for each in explained.violations],
            "story": list(explained.story),
        }
    return said
