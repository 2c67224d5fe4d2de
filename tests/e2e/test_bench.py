"""A short smoke of the benchmark: both systems run and their ratios are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_runs_both_systems_and_prints_their_ratios(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    options = [
        "--rounds",
        "1",
        "--warm-up",
        "0",
        "--seconds",
        "1",
        "--window",
        "50",
        "--sequential",
        "5",
        "--tasks",
        "500",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *options, "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "ratio to the bare loop" in ran.stdout
    assert "ratio of the worker" in ran.stdout
    told = json.loads(report.read_text("utf-8"))
    assert told["ratio"] > 0
    assert told["worker_ratio"] > 0
    assert told["in_memory_per_s"] > 0
