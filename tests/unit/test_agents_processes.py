"""Whatever a function does to its process, it is the outcome of its own task and nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.processes.declared import OwnProcess
from agents.processes.parent import Child, NotLoadedError, how_it_ended
from agents.processes.pool import Pool
from events.metrics import NULL
from tests.unit.caged import WAIT_S, Yard, killed, lives, until, yard
from tests.unit.caged_functions import work

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits address space: Linux only")


@pytest.fixture(scope="module")
def one() -> Iterator[Yard]:
    """A pool of one child, which is replaced as often as a test kills it."""
    with yard(work, memory_max_mb=200) as made:
        yield made


def test_a_task_is_done_in_another_process_with_its_data_and_results(one: Yard) -> None:
    outcome = one.run("who", results={"before": {"text": "lamp"}, "unread": [1]})

    assert outcome.status == "done"
    assert outcome.confidence == 0.5
    pid, before = outcome.output["text"].split()
    assert int(pid) != os.getpid()
    assert before == "lamp"


def test_a_child_serves_one_task_after_another(one: Yard) -> None:
    assert one.pid() == one.pid()


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("os._exit", "crashed", "exit code 3: raise an error instead of os._exit()"),
        ("segfault", "crashed", "SIGSEGV"),
        ("kill", "crashed", "SIGKILL, mostly for lack of memory: set memory_max_mb"),
        pytest.param("memory", "memory", "more memory than it may", marks=LINUX),
    ],
)
def test_the_death_of_a_child_fails_its_task_alone(
    one: Yard, what: str, kind: str, says: str
) -> None:
    before = one.pid()

    status, found, message = one.said(what)

    assert (status, found) == ("failed", kind)
    assert says in message
    after = one.pid()
    assert after != before
    assert not lives(before)


@pytest.mark.parametrize(
    ("what", "status", "kind", "says"),
    [
        ("sys.exit", "failed", "exception", "SystemExit: 4"),
        ("50 MB", "failed", "output_too_large", "the limit is 262144"),
        ("permanent", "failed", "permanent", "no such order"),
        ("always transient", "retry", "transient", "come again"),
        ("escalate", "escalate", "escalated", "a lawyer"),
        ("scribble", "failed", "crashed", "no answer"),
    ],
)
def test_what_a_function_raises_or_returns_means_what_it_means_in_the_worker(
    one: Yard, what: str, status: str, kind: str, says: str
) -> None:
    found = one.said(what)

    assert found[:2] == (status, kind)
    assert says in found[2]
    assert one.run("who").status == "done"


def test_a_function_may_delegate(one: Yard) -> None:
    outcome = one.run("delegate")

    assert outcome.status == "delegate"
    assert [(step.agent, step.input) for step in outcome.delegates] == [("finder", {"order": 7})]


def test_what_a_function_prints_or_reads_is_not_the_worker_s_link(one: Yard) -> None:
    assert one.run("print").status == "done"


def test_what_a_function_logs_names_its_case(capfd: pytest.CaptureFixture[str]) -> None:
    with yard(work) as made:
        case_id = made.run("log").case_id
    [line] = [line for line in capfd.readouterr().err.splitlines() if "half of it" in line]
    assert json.loads(line)["case_id"] == case_id


def test_data_that_does_not_fit_costs_no_child(one: Yard) -> None:
    before = one.pid()
    assert one.said("who", results={"before": {"text": 7}})[:2] == ("failed", "invalid_input")
    assert one.pid() == before


def test_a_transient_error_is_tried_again_in_the_same_attempt() -> None:
    with yard(work, tries_max=2) as made:
        assert made.run("transient").status == "done"


def test_a_fork_that_returns_ends_and_gives_no_second_answer(one: Yard) -> None:
    assert one.run("fork").output["text"] == "fork 70"
    assert one.run("who").status == "done"


def test_a_task_that_is_out_of_time_is_stopped_with_what_it_started(
    one: Yard, tmp_path: Path
) -> None:
    file = tmp_path / "pids"

    status, kind, _ = one.said("spin_with_child", timeout_s=1.5, file=str(file))

    assert (status, kind) == ("retry", "timeout")
    pids = [int(pid) for pid in file.read_text(encoding="ascii").split()]
    assert len(pids) == 2
    until(lambda: not any(map(lives, pids)))
    assert one.pid() not in pids


def test_neighbours_go_on_while_one_computes_and_one_dies(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with yard(work, processes_max=2) as made:
        made.start("spin", timeout_s=60.0, file=str(file))
        until(lambda: file.exists() and file.read_text(encoding="ascii"))
        spinning = int(file.read_text(encoding="ascii"))

        assert made.said("os._exit")[:2] == ("failed", "crashed")
        assert made.pid() != spinning

        assert lives(spinning)
        ended = made.telemetry.value("caseworks_agent_processes_ended_total", agent="work")
        assert ended == 1


def test_the_start_of_a_child_is_no_run_time(one: Yard) -> None:
    """Loading the module takes longer than this, above all on a busy machine."""
    one.said("os._exit")

    assert one.run("who", timeout_s=0.25).status == "done"


def test_a_child_that_dies_idle_costs_no_task(one: Yard) -> None:
    for _ in range(3):
        pid = one.pid()
        os.kill(pid, signal.SIGKILL)  # the next task may well be on its way to it
        assert one.run("who").output["text"] != str(pid)


def test_readiness_tells_while_there_is_no_child() -> None:
    with yard(work) as made:
        assert "start" in made.processes.trouble()
        made.pid()
        assert made.processes.trouble() == ""


def test_a_module_that_does_not_load_is_told_with_its_error() -> None:
    async def start() -> str:
        pool = Pool("work", OwnProcess("tests.unit.caged_functions", "nobody"), 1000, NULL)
        pool.start()
        async with asyncio.timeout(WAIT_S):
            while "do not start" not in pool.trouble:  # noqa: ASYNC110 - no event: readiness asks
                await asyncio.sleep(0.01)
        await pool.close()
        return pool.trouble

    assert "no attribute 'nobody'" in asyncio.run(start())


@pytest.mark.parametrize(
    ("module", "says"),
    [("tests.unit.nowhere", "ModuleNotFoundError"), ("tests.unit.exits_on_import", "exit code 5")],
)
def test_a_child_that_cannot_load_says_why(module: str, says: str) -> None:
    with pytest.raises(NotLoadedError, match=says):
        asyncio.run(Child.start(OwnProcess(module, "work"), 1000))


# --- the end of the worker

WORKER = """
import sys, threading
sys.path.insert(0, {root!r})
from tests.unit.caged import Yard
from tests.unit.caged_functions import work
made = Yard(work)
made.start("spin", file={file!r}, timeout_s=60)
threading.Event().wait(60)
"""
CARELESS = """
import subprocess, sys
code = "import os, time; open({file!r}, 'w').write(str(os.getpid())); time.sleep(30)"
subprocess.Popen([sys.executable, "-c", code], process_group=0).wait()
"""
ROOT = Path(__file__).parents[2]


def orphan(script: str, file: Path) -> int:
    """Kill -9 a worker that runs a task; returns the process id of the task's."""
    parent = subprocess.Popen(
        [sys.executable, "-c", script.format(root=str(ROOT), file=str(file))], cwd=ROOT
    )
    try:
        until(lambda: file.exists() and file.read_text(encoding="ascii"))
    finally:
        parent.kill()
        parent.wait()
    return int(file.read_text(encoding="ascii").split()[0])


def test_children_end_with_a_worker_that_was_killed(tmp_path: Path) -> None:
    pid = orphan(WORKER, tmp_path / "pid")
    try:
        until(lambda: not lives(pid), wait_s=5.0)
    finally:
        killed(pid)


def test_control_a_child_that_nobody_tells_outlives_its_parent(tmp_path: Path) -> None:
    pid = orphan(CARELESS, tmp_path / "pid")
    try:
        with pytest.raises(AssertionError, match="did not happen"):
            until(lambda: not lives(pid), wait_s=1.0)
    finally:
        killed(pid)


def test_closing_the_worker_ends_its_children_and_what_runs_in_them(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with yard(work) as made:
        made.start("spin", file=str(file))
        until(lambda: file.exists() and file.read_text(encoding="ascii"))
        pid = int(file.read_text(encoding="ascii"))
        assert lives(pid)
    until(lambda: not lives(pid), wait_s=5.0)


# --- control arms: the same deeds without the guard


@LINUX
def test_control_without_a_limit_the_memory_is_taken() -> None:
    with yard(work) as made:
        assert made.run("memory").status == "done"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0, "exit code 0"),
        (-signal.SIGABRT, "SIGABRT"),
        (-99, "signal 99"),
    ],
)
def test_an_exit_code_is_told_in_words(code: int, says: str) -> None:
    assert says in how_it_ended(code)
