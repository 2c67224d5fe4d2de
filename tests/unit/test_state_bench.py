"""The benchmark of the state, with few cases: it must run when somebody wants its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.state import closed, restart, run


@pytest.mark.parametrize("store", ["memory", "disk"])
def test_it_says_what_a_command_costs(store: str, tmp_path: Path) -> None:
    found = run(store, tmp_path, 300, 3)

    assert found["open"] == 300
    assert found["working_us"] > 0


def test_a_restart_finds_what_was_open(tmp_path: Path) -> None:
    run("disk", tmp_path, 300, 3)

    assert restart(tmp_path)["found"] > 200


def test_it_says_what_closed_cases_cost() -> None:
    assert closed(2000)["closed"] == 2000
