from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caseworks.cli.init import FILES
from caseworks.shadowing import ROOT
from tests.unit.command_line import CommandLine


def test_a_project_is_made_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop"
    command = CommandLine()
    ran = command("init", str(folder))
    assert ran.code == 0
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert 'App("my-shop")' in (folder / "app.py").read_text()
    (folder / "README.md").unlink()
    again = command("init", str(folder))
    assert again.code == 3
    assert "holds app.py, test_app.py, .gitignore already" in again.err
    assert not (folder / "README.md").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = CommandLine()("init", str(tmp_path / "file" / "shop"))
    assert ran.code == 3
    assert "cannot write to" in ran.err


@pytest.mark.slow
def test_the_test_of_a_new_project_runs(tmp_path: Path) -> None:
    CommandLine()("init", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_a_new_project_passes_the_linter(tmp_path: Path) -> None:
    CommandLine()("init", str(tmp_path))
    done = subprocess.run(
        ["ruff", "check", "--isolated", "--select", "F,E,I,UP", str(tmp_path)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
