"""`demo`: watch real events become results, then watch processes be killed."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import DEFAULT_APP, AppOption, app_of, settings_of
from caseworks.cli.output import console, note, plain, say, write_table

if TYPE_CHECKING:
    from caseworks.app import App
    from caseworks.demo.material import Material
    from caseworks.demo.play import Kill, Play
    from caseworks.demo.tally import Count, Measured
    from caseworks.stage import Stage
    from caseworks.supervisor import Change
    from events.settings import Settings

RATE_ONE, RATE_TWO = 100.0, 250.0
EVENTS_TWO = 1500
PHASE_TIMEOUT_S = 90.0
WARM_UPS, WARM_UP_EVENTS = 3, 40
GRACE_S = 1.0
"""How long the end is watched for answers that come twice."""
SMALL = {
    "inbox_partitions": 8,
    "events_partitions": 4,
    "tasks_partitions": 4,
    "results_partitions": 4,
}


def demo(
    app: AppOption = DEFAULT_APP,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was counted as JSON.")
    ] = None,
) -> None:
    """Watch real events become results, then kill -9 what makes them, and count.

    Warm-up, phase one (which is measured) and phase two are all in the count at the end.
    """
    from tempfile import TemporaryDirectory

    from caseworks.demo.material import load_material
    from caseworks.process import interrupted_by_signals
    from events.logs import configure

    configure(level="error", role="demo")
    application = app_of(app)
    material = load_material(app)
    # A throw-away folder: nothing of an earlier run, nothing for a later one.
    with interrupted_by_signals(), TemporaryDirectory(prefix="caseworks-demo-") as folder:
        given = settings_of()
        small = {name: value for name, value in SMALL.items() if name not in given.model_fields_set}
        settings = given.model_copy(
            update={**small, "data_dir": Path(folder), "bootstrap_servers": "", "http_port": 0}
        )
        found = _on_stage(app, application, material, settings)
    if report is not None:
        report.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(0 if found["lost"] == 0 and found["doubled"] == 0 else 1)


def _on_stage(target: str, app: App, material: Material, settings: Settings) -> dict[str, Any]:
    from caseworks.cli.progress import Steps
    from caseworks.demo.play import Play
    from caseworks.stage import Cast, Stage

    level = settings.log_level if "log_level" in settings.model_fields_set else "error"
    cast = Cast(target=target, log_level=level, log_dir=settings.data_dir)
    with Steps() as steps:
        stage = Stage(app, settings, cast, progress=steps.progress, listener=_Deaths())
        with stage:
            steps.progress(f"starting {1 + len(app.agents)} processes", 0.0)
            with _last_words(settings.data_dir):
                stage.wait_ready()
            steps.close()
            with closing(Play(stage)) as play:
                return _play(stage, play, material, list(app.agents))


@contextmanager
def _last_words(folder: Path) -> Iterator[None]:
    """When the processes do not start, tell what they said: their logs go with the folder."""
    from events.errors import SetupError

    try:
        yield
    except SetupError:
        for log in sorted(folder.glob("*-*.log")):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]:
                note(f"{log.stem}: {plain(line)}")
        raise


def _play(stage: Stage, play: Play, material: Material, agents: Sequence[str]) -> dict[str, Any]:
    from caseworks.demo import tally
    from caseworks.demo.material import again
    from caseworks.demo.play import count_from_topics

    n = len(material.events)
    _warm_up(play, material)
    say(f"Phase one: {n} real events at {RATE_ONE:g} a second, each through its workflow.")
    with _bar("answered", n) as shown:
        one = play.phase(material.events, rate=RATE_ONE, timeout_s=PHASE_TIMEOUT_S, shown=shown)
    _summary(one, material)
    say(f"Phase two: {EVENTS_TWO} events at {RATE_TWO:g} a second, and kill -9 on the way.")
    events = list(again(material.events, EVENTS_TWO))
    with _bar("answered", EVENTS_TWO) as shown:
        play.phase(
            events,
            rate=RATE_TWO,
            timeout_s=PHASE_TIMEOUT_S,
            kills=_victims(agents),
            shown=shown,
            told=say,
        )
    play.watch_for(GRACE_S)
    count = count_from_topics(stage.system.broker, stage.settings)
    found = tally.report(count, play.published, play.killed, one, material.judge)
    _verdict(count, play, found)
    return found


def _warm_up(play: Play, material: Material) -> None:
    """A few events, and a few more: the first ones measure how cold everything is."""
    from caseworks.demo.material import again

    for number in range(WARM_UPS):
        events = list(again(material.events, WARM_UP_EVENTS, mark=f"warm-up-{number}"))
        play.phase(events, rate=RATE_ONE, timeout_s=PHASE_TIMEOUT_S)


def _victims(agents: Sequence[str]) -> list[Kill]:
    """A coordinator at a quarter of the way, a worker at half."""
    from caseworks.demo.play import Kill

    worker = Kill(f"worker-{agents[0]}", EVENTS_TWO // 2)
    return [Kill("coordinator-0", EVENTS_TWO // 4), worker]


class _Deaths:
    """Tells who died and who is back; a first start is no news."""

    def __init__(self) -> None:
        self._dead: dict[str, float] = {}

    def __call__(self, change: Change) -> None:
        from caseworks.supervisor import ended_by

        name = change.program.name
        if change.kind == "died":
            self._dead[name] = time.monotonic()
            if change.ended != -signal.SIGKILL:
                note(f"{name} died: {ended_by(change.ended)}")
        elif change.kind == "ready" and name in self._dead:
            after_s = time.monotonic() - self._dead.pop(name)
            say(f"{name} is back after {after_s:.1f} s (pid {change.pid})")


# --- what it looks like


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[Measured], None]]:
    """A live bar on stdout in a terminal; elsewhere nothing until the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(sys.stdout), refresh_per_second=8) as progress:
        task = progress.add_task(what, total=total)
        yield lambda phase: progress.update(task, completed=phase.answered)


def _summary(one: Measured, material: Material) -> None:
    from collections import Counter

    from caseworks.demo.tally import judge_phase

    rows: Counter[tuple[str, str]] = Counter((c.type, c.status) for c in one.came.values())
    write_table(
        "Results",
        ("type", "status", "n"),
        [(kind, status, n) for (kind, status), n in sorted(rows.items())],
        right="2",
    )
    types = sorted({event.type for event in material.events})
    judged = [(kind, judge_phase(one, kind, material.judge)) for kind in types]
    write_table(
        "Answers without a person, against what people labelled",
        ("event", "labelled", "answered", "right", "wrong", "to a person"),
        [
            (
                kind,
                each.labelled,
                each.resolved,
                each.right,
                each.wrong,
                each.escalated,
            )
            for kind, each in judged
            if each.labelled
        ],
        right="1 2 3 4 5",
    )
    for kind, each in judged:
        if each.out_of_scope:
            kept = f"{each.escalated_out_of_scope} of {each.out_of_scope}"
            say(f"{kind} out of scope, apart from the above: {kept} went to a person")
    write_table(
        "From event to result",
        ("event", "n", "confidence", "p50 ms", "p99 ms"),
        [_times(one, kind) for kind in types],
        right="1 2 3 4",
    )
    say(f"dead letters: {len(one.dead)}")


def _times(one: Measured, kind: str) -> tuple[object, ...]:
    from caseworks.demo.tally import mean, percentile

    times = one.latencies_ms(kind)
    sure = mean(
        came.confidence
        for name, came in one.came.items()
        if one.sent[name][0].type == kind and came.confidence is not None
    )
    return (
        kind,
        len(times),
        "" if sure is None else f"{sure:.2f}",
        f"{percentile(times, 50):.0f}",
        f"{percentile(times, 99):.0f}",
    )


def _verdict(count: Count, play: Play, found: dict[str, Any]) -> None:
    say("Counted from the topics by a fresh read_committed reader:")
    ends = f"{count.results.total()} results, {found['dead_letters']} dead letters"
    say(f"  {found['published']} published: {ends}")
    for name in count.lost(play.published)[:5]:
        note(f"  no end: {name[1]} of {name[0]}")
    say(f"killed {found['killed']}, lost {found['lost']}, doubled {found['doubled']}")
