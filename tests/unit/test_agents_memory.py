"""A worker with a limit on its memory: who asks for too much has failed, and nobody dies of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents.processes.memory import limit_memory
from events.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from agents.processes.memory import limit_memory
from agents.agent import Agent
from agents.executor import ThreadedExecutor
from agents.job import Desk
from agents.stack import handler_of
from events.loop import Job
from tests.unit.workbench import Answer, Recorder, Ticket, a_message
from tests.unit.worker_shop import Shop, now_task, outcomes, quick, until

async def hungry(ticket: Ticket) -> Answer:
    return Answer(text=str(len(bytearray(900_000_000))))

{limit}
recorder = Recorder()
made = Shop(hungry, recorder)
made.start(1)
made.collect(1)
other = Desk(Agent.from_function(quick), made.desk.services, handler_of())
neighbour = ThreadedExecutor(other, made.host)
neighbour.start([Job(a_message(now_task("quick")))])
until(lambda: neighbour.collect(0.05))
for outcome in outcomes(recorder):
    print(outcome.agent, outcome.status, outcome.error.kind if outcome.error else "")
"""


def played(limit: str) -> list[str]:
    script = SCRIPT.format(root=str(ROOT), limit=limit)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space: Linux only")
def test_beyond_the_limit_the_agent_has_failed_and_its_neighbour_goes_on() -> None:
    assert played("assert limit_memory(400)") == ["hungry failed memory", "quick done "]


@pytest.mark.slow
def test_control_without_a_limit_it_takes_what_it_asks_for() -> None:
    assert played("") == ["hungry done ", "quick done "]


def test_by_default_a_worker_has_no_limit_of_its_own() -> None:
    assert Settings().worker_memory_max_mb is None


def test_a_limit_that_cannot_be_set_is_said_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    assert not limit_memory(2**60)

    assert "memory_not_limited" in caplog.text
