"""The checker can fail: each deliberate bug is caught within so many runs, on the mixed app."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
BUGS_MIN = 18


def play(name: str) -> dict[str, object] | None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.mutant", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, object] | None = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_each_bug_has_its_place_in_the_product(bug: Bug) -> None:
    source = (ROOT / bug.file).read_text("utf-8")

    compile(bug.put_into(source), bug.file, "exec")


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= BUGS_MIN
    assert {f"rule {n}" for n in (1, 2, 3, 5, 6)} <= {bug.breaks for bug in BUGS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_each_bug_is_caught_within_so_many_runs(name: str) -> None:
    answer = play(name)

    assert answer is not None, f"not caught within {BUGS[name].runs_max} runs"
    assert answer["rules"] != ["crash"], answer
