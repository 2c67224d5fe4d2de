from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from caseworks.shadowing import ROOT


def kafka(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: its data folder comes from the environment."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CASEWORKS_DATA_DIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "caseworks", "kafka", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_kafka_that_does_not_run_is_told_to_people_and_scripts(tmp_path: Path) -> None:
    ran = kafka(tmp_path, "status")
    assert ran.returncode == 1
    assert "caseworks kafka start" in ran.stdout
    told = json.loads(kafka(tmp_path, "status", "--json").stdout)
    assert told == {"running": False, "bootstrap": None}


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    ran = kafka(tmp_path, "stop")
    assert ran.returncode == 0
    assert "no Kafka runs on" in ran.stdout
