"""What a role's process does around its loops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, threading
from pathlib import Path
from caseworks.process import STEADY_NICE, give_way
stop = threading.Event()
threading.Thread(target=stop.wait).start()
before = os.getpriority(os.PRIO_PROCESS, 0)
give_way()
found = [os.getpriority(os.PRIO_PROCESS, int(t.name)) for t in Path("/proc/self/task").glob("*")]
stop.set()
print(len(found), min(found) >= max(before, STEADY_NICE))
"""


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="threads have priorities on Linux only"
)
def test_every_thread_of_a_ready_process_gives_way() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )

    assert ran.stdout.split() == ["2", "True"]
