"""The parts of the console that need no browser, where node is there to run them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_pure_modules_do_what_they_say() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    run = subprocess.run(
        [node, "--test", str(HERE / "pure.test.mjs")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
