"""An event loop that does not turn: when that is so, and what is said of it, once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agents.stalls import FRAMES_MAX, OnLoop, Stalls, stacks
from events.metrics import Prometheus
from tests.unit.workbench import ManualClock

ROOT = Path(__file__).parents[2]
STALLED = "caseworks_loop_stalls_total"


class Watched:
    """Stalls on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.on: OnLoop | None = OnLoop("triage", "c-1")
        self.telemetry = Prometheus()
        self.stalls = Stalls(
            threading.get_ident(),
            lambda: self.on,
            after_s=5.0,
            telemetry=self.telemetry,
            clock=self.clock,
        )

    def stand(self, seconds: float, every_s: float = 0.5) -> float:
        """Let the loop stand, looking now and then."""
        until, stood = self.clock.now + seconds, 0.0
        while self.clock.now < until:
            self.clock.now += every_s
            stood = self.stalls.look()
        return stood

    def turn(self) -> None:
        self.clock.now += 0.1
        self.stalls.beat()
        self.stalls.look()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_loop_that_turns_has_not_stalled(watched: Watched) -> None:
    for _ in range(100):
        watched.turn()
        assert watched.stand(1.0) <= 1.1
    assert watched.stalls.trouble() == ""


def test_a_stall_is_told_once_with_the_agent_and_every_stack(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert watched.stand(30.0) == 30.0

    lines: list[Any] = [record.msg for record in caplog.records]
    [line] = [line for line in lines if line["event"] == "loop_stalled"]
    assert (line["agent"], line["case_id"]) == ("triage", "c-1")
    assert line["threads"][0]["stack"][-1].endswith("in stacks")
    assert watched.telemetry.value(STALLED, agent="triage") == 1
    assert "on it: triage" in watched.stalls.trouble()


def test_a_loop_that_turns_again_is_ready_and_may_stall_again(watched: Watched) -> None:
    watched.stand(6.0)
    watched.turn()
    assert watched.stalls.trouble() == ""

    watched.on = None
    watched.stand(6.0)

    assert "on it: unknown" in watched.stalls.trouble()
    assert watched.telemetry.value(STALLED, agent="unknown") == 1


def test_a_process_that_was_stopped_has_not_stalled(watched: Watched) -> None:
    """Nobody looked for an hour: neither did the loop get to turn."""
    watched.turn()
    watched.clock.now += 3600.0

    assert watched.stalls.look() <= 1.0
    assert watched.stalls.trouble() == ""


def test_stacks_are_bounded_and_begin_with_the_thread_that_is_asked_for() -> None:
    ready, done = threading.Event(), threading.Event()

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            ready.set()
            done.wait(10)

    thread = threading.Thread(target=deep, args=(200,), name="deep")
    thread.start()
    try:
        assert ready.wait(10)
        found: list[Any] = stacks(thread.ident or 0)
    finally:
        done.set()
        thread.join()

    assert found[0]["thread"] == "deep"
    assert len(found[0]["stack"]) == FRAMES_MAX
    assert "in Event.wait" in "\n".join(found[0]["stack"])
    assert any(each["thread"] == "MainThread" for each in found)


FROZEN = """
import ctypes, sys, time
sys.path.insert(0, {root!r})
from agents.stalls import ended_when_frozen
from contextlib import nullcontext
sleep = ctypes.PyDLL(None).usleep  # keeps the interpreter to itself
with {guard}:
    for _ in range(4):
        sleep(500_000)
        {between}
print("went on")
"""


def frozen(guard: str, between: str = "") -> subprocess.CompletedProcess[str]:
    script = FROZEN.format(root=str(ROOT), guard=guard, between=between)
    script = script.replace(
        "sleep(500_000)", "sleep(2_000_000)" if not between else "sleep(50_000)"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_a_process_whose_interpreter_is_held_ends_with_its_stacks() -> None:
    found = frozen("ended_when_frozen(1.0)")

    assert found.returncode == 1
    assert "Timeout" in found.stderr
    assert 'File "<string>", line' in found.stderr
    assert "went on" not in found.stdout


@pytest.mark.slow
def test_control_unwatched_it_hangs_as_long_as_it_likes() -> None:
    found = frozen("nullcontext()")

    assert (found.returncode, found.stdout) == (0, "went on\n")


@pytest.mark.slow
def test_a_process_that_gets_to_run_now_and_then_goes_on() -> None:
    found = frozen("ended_when_frozen(1.0)", "time.sleep(0.7)")

    assert (found.returncode, found.stdout) == (0, "went on\n"), found.stderr
