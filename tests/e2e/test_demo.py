from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.e2e.system import caseworks


def test_the_demo_loses_and_doubles_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    ran = caseworks(tmp_path, "demo", "--report", str(file), timeout_s=150)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.rstrip().endswith("killed 2, lost 0, doubled 0")
    report = json.loads(file.read_text())
    answered = sum(n for found in report["results"].values() for n in found.values())
    assert answered + report["dead_letters"] == report["published"]
    assert report["right"] + report["wrong"] == report["auto_resolved"]
    assert report["auto_resolved"] >= 0.35 * report["tickets"]
    assert not [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any("caseworks-demo-" in word for word in process.info["cmdline"] or ())
    ]
