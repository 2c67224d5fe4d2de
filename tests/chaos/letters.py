"""Ten thousand dead letters: listed, and replayed at a rate by a process that is killed half-way.

Each case has a step that was done before another one died. The effects of both are counted by the
dependency that they call, so that whatever is done twice is seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.accountant import Accountant
from tests.chaos.audit import audit, committed, header_of
from tests.chaos.crew import ROOT, LateError
from tests.chaos.dependency import Dependency
from tests.chaos.load import Pace
from tests.chaos.trial import Ask, Figure, Showing
from tests.chaos.workload import Workload
from tests.chaos.world import NAMESPACE, PARTITIONS, Setup, World, world

LETTERS = 10_000
RATE_PER_S = 250.0
"""At which letters are replayed."""
PUBLISHED_PER_S = 400.0
LISTED_S = 3.0
COMMAND_S = 300.0
SETTLED_S = 120.0
DEAD = f"{NAMESPACE}.tasks.reply.dlq"
RESULTS = f"{NAMESPACE}.results.replying"
SETTINGS = {"CASEWORKS_PAUSE_AFTER_FAILURES": "0"}  # paused, only twenty of them would die


class Ran(NamedTuple):
    """A command of the command line that has ended."""

    out: str
    wall_s: float
    cpu_s: float


def workload() -> Workload:
    """One case a letter: first it is escalated, then its replay amends that."""

    def event(number: int, event_id: str) -> tuple[str, bytes]:
        return "reply.wanted", json.dumps({"id": event_id}).encode()

    def right(event_id: str, body: Mapping[str, Any]) -> bool:
        if body.get("amends"):
            good: bool = body["status"] == "completed" and body["output"] == event_id
            return good
        dead: bool = body["status"] == "escalated" and body["steps"]["find"]["status"] == "done"
        return dead

    names = ("find", "reply")
    return Workload(
        "tests.chaos.letters_app:app", ("replying",), names, event, {"reply": ("find",)}, right
    )


def letters(ask: Ask, showing: Showing) -> None:
    """Run it. Raises `LateError`, `HiddenEndError`."""
    count, rate = ask.cases or LETTERS, ask.rate or RATE_PER_S
    with Dependency() as dependency:
        env = {"CHAOS_DEPENDENCY": dependency.address} | SETTINGS
        setup = Setup(coordinators=1, workers=1, env=env)
        with world(setup, workload(), Pace(PUBLISHED_PER_S), ask.seed, ask.keep) as running:
            running.deadline = time.monotonic() + 600.0
            _die(running, count, ask)
            showing.figures += _list(running, count, ask)
            _replay(running, dependency, count, rate, ask, showing)
            running.crew.close()
            running.load.stop()
            showing.complaints += running.crew.deaths.crashes
            bootstrap, load = running.cluster.bootstrap, running.load
            accountant = Accountant(
                load.seen.published,
                running.cast.workload.needs,
                running.cast.workload.right,
                mortal=[DEAD],
                amends_max=1,
            )
            audit(bootstrap, NAMESPACE, accountant)
            commands = _commands(bootstrap)
    showing.verdict = accountant.verdict()
    effects = Counter(path.split("/")[1] for _, path in dependency.calls)
    again = len(dependency.calls) - len({path for _, path in dependency.calls})
    showing.figures += [
        Figure("replay commands", commands.total(), "", count, count),
        Figure("of the same letter", commands.total() - len(commands), "", None, 0),
        Figure("effects of replayed steps", effects["reply"], "", count, count),
        Figure("effects of their siblings", effects["find"], "", count, count),
        Figure("effects that were repeated", again, "", None, 0),
        Figure("results that amend another", showing.verdict.amended, "", count, count),
    ]


def _die(running: World, count: int, ask: Ask) -> None:
    running.load.goal = count
    running.wait_until(lambda: running.load.all_answered, 60.0 + 4 * count / PUBLISHED_PER_S)
    ask.told(f"{count} cases ended by a dead letter")


def _list(running: World, count: int, ask: Ask) -> list[Figure]:
    newest = _ran(running, "list")
    whole = _ran(running, "list", "--limit", str(count))
    shown = sum(line.startswith(DEAD) for line in whole.out.splitlines())
    ask.told(f"listed: {newest.wall_s:.2f} s the newest 50, {whole.wall_s:.2f} s all {shown}")
    return [
        Figure("letters listed", shown, "", count, count),
        Figure("listed: the newest 50, wall", newest.wall_s, "s", None, LISTED_S, is_timing=True),
        Figure("listed: the newest 50, CPU", newest.cpu_s, "s"),
        Figure("listed: every one, wall", whole.wall_s, "s", None, LISTED_S, is_timing=True),
        Figure("listed: every one, CPU", whole.cpu_s, "s"),
    ]


def _replay(
    running: World, dependency: Dependency, count: int, rate: float, ask: Ask, showing: Showing
) -> None:
    """Half of them, kill -9, and the rest."""
    (Path(running.cast.env["CASEWORKS_DATA_DIR"]) / "mended").touch()
    effects = len(dependency.calls)
    said = ("--yes", "--rate", f"{rate:g}/s")
    begun = time.monotonic()
    chosen = ("--all", "--why", "mended", "--name", "half")
    process = _started(running, "replay", *chosen, *said, out=subprocess.DEVNULL)
    try:
        running.wait_until(lambda: len(dependency.calls) - effects >= count // 2, SETTLED_S)
        killed = time.monotonic()
    finally:
        ended = process.poll()
        process.kill()
        _, said_by_it = process.communicate()
        if ended is not None:
            showing.complaints.append(f"the replay ended by itself: {said_by_it.strip()}")
    running.wait(2.0)  # what the dead one had committed
    done = len(dependency.calls) - effects
    first = done / (killed - begun)
    ask.told(f"killed after {done} of {count}")
    rest = _ran(running, "replay", "--resume", "half", *said)
    second = (count - done) / rest.wall_s
    running.wait_until(lambda: len(dependency.calls) - effects >= count, SETTLED_S)
    _wait_amended(running, count)
    waiting = sum(line.startswith(DEAD) for line in _ran(running, "list").out.splitlines())
    showing.figures += [
        Figure("replayed before the kill -9", done, "", 1, count - 1),
        Figure("rate before the kill -9", first, "letters/s", None, 1.1 * rate),
        Figure("rate after it", second, "letters/s", None, 1.1 * rate),
        Figure("letters that still wait", waiting, "", None, 0),
    ]


def _wait_amended(running: World, count: int) -> None:
    """Until every case has its second result."""
    until = time.monotonic() + SETTLED_S
    found = 0
    while found < count:
        if time.monotonic() > until:
            raise LateError(f"only {found} of {count} cases were amended")
        running.wait(1.0)
        messages = committed(running.cluster.bootstrap, RESULTS, PARTITIONS["RESULTS"])
        found = sum(bool(json.loads(m.value() or b"").get("amends")) for m in messages)


def _commands(bootstrap: str) -> Counter[str]:
    """Replay commands by the letter that they name."""
    messages = committed(bootstrap, f"{NAMESPACE}.inbox", PARTITIONS["INBOX"])
    return Counter(
        json.loads(m.value() or b"")["command_id"]
        for m in messages
        if header_of(m, "ce_type") == "caseworks.replay"
    )


def _started(running: World, *words: str, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caseworks", "dlq", *words],
        env={**os.environ, **running.cast.env},
        cwd=ROOT,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ran(running: World, *words: str) -> Ran:
    """Run it to its end. Raises `LateError` when it fails, or does not end."""
    begun, before = time.monotonic(), os.times()
    process = _started(running, *words)
    try:
        out, told = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LateError(f"dlq {words[0]} does not end") from None
    wall_s, after = time.monotonic() - begun, os.times()
    if process.returncode:
        raise LateError(f"dlq {words[0]}: {told.strip()}")
    cpu_s = after.children_user - before.children_user
    return Ran(out, wall_s, cpu_s + after.children_system - before.children_system)
