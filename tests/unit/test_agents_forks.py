"""A fork of a worker never becomes a second worker; what it was forked for, it may do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SCRIPT = """
import asyncio, multiprocessing, os, sys, threading, time
sys.path.insert(0, {root!r})
from agents.executor import EventLoopThread, ThreadedExecutor
from agents.forks import end_forks_that_return
from tests.unit.workbench import Answer, Recorder, Ticket
from tests.unit.worker_shop import Shop, until

FILE = {file!r}

def note(text):
    with open(FILE, "a") as out:
        out.write(f"{{os.getpid()}} {{text}}\\n")

class Producer(Recorder):
    def produce(self, record, on_delivery=None):
        note("answers")
        super().produce(record, on_delivery)

def forked():
    child = os.fork()
    if child == 0:
        note("child works")
        return "child"
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"ended {{status >> 8}}"
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "came back"

async def on_loop(ticket: Ticket) -> Answer:
    return Answer(text=forked())

async def in_a_task(ticket: Ticket) -> Answer:
    async def part():
        return forked()
    return Answer(text=await asyncio.create_task(part()))

def in_a_thread(ticket: Ticket) -> Answer:
    return Answer(text=forked())

def target(sent):
    note("child works")
    sent.put(sum(range(1000)))

def with_multiprocessing(ticket: Ticket) -> Answer:
    context = multiprocessing.get_context("fork")
    sent = context.SimpleQueue()
    child = context.Process(target=target, args=(sent,))
    child.start()
    got = sent.get()
    child.join(10)
    return Answer(text=f"ended {{child.exitcode}} {{got}}")

if {guard}:
    end_forks_that_return()
made = Shop({agent}, Producer())
made.start(1)
until(lambda: made.executor.collect(0.05))
note("said " + made.desk.services.producer.records[0].value.decode())
os._exit(0)
"""


def played(agent: str, tmp_path: Path, *, guard: bool) -> list[tuple[str, str]]:
    """What was written by whom, when an agent that forks has done its task."""
    file = tmp_path / "notes"
    script = SCRIPT.format(root=str(ROOT), file=str(file), guard=guard, agent=agent)
    options = ("-W", "ignore")
    subprocess.run([sys.executable, *options, "-c", script], timeout=60, check=True, cwd=ROOT)
    lines = file.read_text(encoding="utf-8").splitlines()
    return [(pid, text) for pid, _, text in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("agent", ["on_loop", "in_a_task", "in_a_thread"])
def test_a_fork_that_comes_back_to_the_worker_ends_there(agent: str, tmp_path: Path) -> None:
    notes = played(agent, tmp_path, guard=True)

    worker = notes[-1][0]
    assert "ended 70" in notes[-1][1]
    assert [text for pid, text in notes if pid != worker] == ["child works"]
    assert [text for pid, text in notes if pid == worker][:1] == ["answers"]


@pytest.mark.parametrize("agent", ["on_loop", "in_a_task"])
def test_control_without_the_guard_two_processes_answer_one_task(
    agent: str, tmp_path: Path
) -> None:
    notes = played(agent, tmp_path, guard=False)

    assert len({pid for pid, text in notes if text == "answers"}) == 2


def test_what_multiprocessing_forks_does_its_work(tmp_path: Path) -> None:
    notes = played("with_multiprocessing", tmp_path, guard=True)

    assert "ended 0 499500" in notes[-1][1]
