"""A short run of the real thing, and its control arm: real processes, kill -9, a genuine Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.crew import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def chaos(report: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a scenario; its exit code and its report."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options, "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert report.exists(), ran.stdout + ran.stderr
    (found,) = json.loads(report.read_text("utf-8"))
    return ran.returncode, found


def test_kills_and_a_freeze_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    code, report = chaos(tmp_path / "report.json", "--smoke")
    assert code == 0, report
    assert report["kills"] == {"coordinator": 1, "worker": 1}
    assert report["verdict"]["results"] == report["cases"] >= 1000
    assert report["faults"] == 3


def test_without_transactions_the_check_fails(tmp_path: Path) -> None:
    code, report = chaos(tmp_path / "report.json", "--only", "no-transactions", "--cases", "400")
    assert code == 1, report
    assert report["verdict"]["doubled_tasks"] + report["verdict"]["doubled_results"] > 0


def test_kills_of_ordered_workers_keep_the_order_and_double_hardly_anything(
    tmp_path: Path,
) -> None:
    options = ("--only", "worker-kills", "--cases", "1500", "--kills", "2", "--rate", "150")
    code, report = chaos(tmp_path / "report.json", *options)
    assert code == 0, report
    figures = {each["name"]: each["value"] for each in report["figures"]}
    assert (figures["tasks done"], figures["kill -9"]) == (1500, 2)
