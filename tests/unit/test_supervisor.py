from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from caseworks.lifeline import Hello
from caseworks.supervisor import Change, Program, RestartPolicy, Supervisor, ended_by
from events.errors import SetupError

ROOT = Path(__file__).parents[2]
PREAMBLE = f"""
import signal, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from caseworks.lifeline import Lifeline
line = Lifeline.hold()
"""
FOREVER = "line.ready(4711)\nthreading.Event().wait()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
SILENT = "threading.Event().wait()"


def program(script: str, name: str = "child", log: Path | None = None) -> Program:
    argv = (sys.executable, "-I", "-S", "-c", PREAMBLE + script)
    return Program(name=name, role="worker", argv=argv, log=log)


class Watched:
    """A supervisor, what it told, and `until` to wait with a bound."""

    def __init__(self, *programs: Program, policy: RestartPolicy) -> None:
        self.changes: list[Change] = []
        self.supervisor = Supervisor(programs, listener=self.changes.append, policy=policy)

    def until(self, reached: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not reached():
            self.supervisor.turn(0.02)
            assert time.monotonic() < deadline, self.changes

    def of(self, kind: str) -> list[Change]:
        return [change for change in self.changes if change.kind == kind]


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*programs: Program, policy: RestartPolicy | None = None) -> Watched:
        made.append(Watched(*programs, policy=policy or RestartPolicy()))
        made[-1].supervisor.start()
        return made[-1]

    yield make
    for each in made:
        each.supervisor.stop(2)


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_children_say_when_they_are_ready_and_where_they_serve(
    watched: Callable[..., Watched],
) -> None:
    it = watched(program(FOREVER, "a"), program(FOREVER, "b"))
    assert not it.supervisor.ready
    it.supervisor.wait_ready(10)
    assert it.supervisor.ready
    assert it.supervisor.ports == {"a": 4711, "b": 4711}


def test_a_dead_child_is_started_again_under_its_name(watched: Callable[..., Watched]) -> None:
    it = watched(program(FOREVER))
    it.supervisor.wait_ready(10)
    killed = it.supervisor.kill("child")
    it.until(lambda: len(it.of("ready")) == 2)
    [died] = it.of("died")
    assert (died.pid, died.ended, died.again_in_s) == (killed, -signal.SIGKILL, 0.0)
    assert it.supervisor.pids["child"] != killed


def test_a_child_that_keeps_dying_waits_longer_each_time(watched: Callable[..., Watched]) -> None:
    it = watched(program("sys.exit(1)"), policy=RestartPolicy(backoff_s=0.01))
    it.until(lambda: len(it.of("died")) == 4)
    assert [died.again_in_s for died in it.of("died")] == [0, 0.01, 0.02, 0.04]


def test_a_child_that_died_again_starts_behind_who_did_not(watched: Callable[..., Watched]) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    made = watched(program(FOREVER), policy=RestartPolicy(backoff_s=0.01, again_nice=usual + 3))
    found: list[int] = []
    while len(found) < 3:
        made.until(lambda: len(made.of("ready")) > len(found))
        found.append(os.getpriority(os.PRIO_PROCESS, made.supervisor.pids["child"]))
        made.supervisor.kill("child")
    assert found == [usual, usual, usual + 3]


def test_stopping_ends_all_in_order_and_the_deaf_by_force(watched: Callable[..., Watched]) -> None:
    it = watched(program(FOREVER, "good"), program(DEAF, "deaf"))
    it.supervisor.wait_ready(10)
    pids = list(it.supervisor.pids.values())
    it.supervisor.stop(0.2)
    assert not any(map(alive, pids))
    assert it.supervisor.pids == {}


def test_a_child_that_says_it_cannot_run_ends_the_wait(watched: Callable[..., Watched]) -> None:
    it = watched(program(FOREVER, "good"), program("sys.exit(3)", "bad"))
    with pytest.raises(SetupError, match=r"bad cannot run \(exit code 3\)"):
        it.supervisor.wait_ready(10)


def test_a_child_that_is_never_ready_is_named(watched: Callable[..., Watched]) -> None:
    it = watched(program(FOREVER, "good"), program(SILENT, "silent"))
    it.until(lambda: bool(it.of("ready")))
    with pytest.raises(SetupError, match="not ready within 0 s: silent"):
        it.supervisor.wait_ready(0.3)


def test_waiting_for_readiness_ends_when_asked_to_stop(watched: Callable[..., Watched]) -> None:
    it = watched(program(SILENT))
    stop = Event()
    stop.set()
    it.supervisor.wait_ready(60, stop)
    it.supervisor.run(stop)


def test_a_program_that_is_not_there_is_one_clear_error() -> None:
    supervisor = Supervisor([Program("ghost", "worker", ("/no/such/program",))])
    with pytest.raises(SetupError, match="cannot start ghost"):
        supervisor.start()
    supervisor.stop()


def test_errors_of_a_child_can_go_to_a_file(
    watched: Callable[..., Watched], tmp_path: Path
) -> None:
    log = tmp_path / "child.log"
    it = watched(program("sys.exit('what went wrong')", log=log))
    it.until(lambda: bool(it.of("died")))
    assert "what went wrong" in log.read_text()


def test_ctrl_c_reaches_the_supervisor_alone(watched: Callable[..., Watched]) -> None:
    it = watched(program(FOREVER))
    assert os.getpgid(it.supervisor.pids["child"]) != os.getpgid(0)


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    child = program(FOREVER)
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from caseworks.supervisor import Program, Supervisor
supervisor = Supervisor([Program("child", "worker", {child.argv!r})])
supervisor.start()
supervisor.wait_ready(10)
print(supervisor.pids["child"], flush=True)
supervisor.run(__import__("threading").Event())
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(10)
        deadline = time.monotonic() + 5
        while alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("deaths", "code", "delay_s"),
    [(1, 1, 0), (2, 1, 0.5), (3, -9, 1), (50, 1, 30), (1, 75, 5), (2, 75, 10), (50, 75, 60)],
)
def test_the_policy_is_a_table(deaths: int, code: int, delay_s: float) -> None:
    assert RestartPolicy().delay_s(deaths, code) == delay_s


def test_exit_codes_are_told_in_words() -> None:
    assert [ended_by(code) for code in (3, -9, -99)] == [
        "exit code 3",
        "killed by SIGKILL",
        "killed by signal 99",
    ]


def test_a_hello_travels() -> None:
    assert Hello.read(Hello(8080).line()) == Hello(8080)


WAITS = "line.wait_for_turn()\n" + FOREVER
LEAVES = "if not line._turn.is_set(): sys.exit(1)\n" + FOREVER
AT_ONCE = RestartPolicy(standby_s=0.0)


def with_standby(script: str) -> Program:
    return replace(program(script), standby=True)


def test_a_standby_goes_on_as_the_child_that_died(watched: Callable[..., Watched]) -> None:
    it = watched(with_standby(WAITS), policy=AT_ONCE)
    it.until(lambda: bool(it.supervisor.standbys))
    waiting = it.supervisor.standbys["child"]
    assert len(it.of("ready")) == 1

    it.supervisor.kill("child")
    it.until(lambda: len(it.of("ready")) == 2)

    assert it.supervisor.pids == {"child": waiting}
    it.until(lambda: bool(it.supervisor.standbys))
    assert it.supervisor.standbys["child"] != waiting


def test_a_child_whose_standby_is_dead_is_started_as_ever(watched: Callable[..., Watched]) -> None:
    it = watched(with_standby(WAITS), policy=AT_ONCE)
    it.until(lambda: bool(it.supervisor.standbys))
    waiting = it.supervisor.standbys["child"]
    os.kill(waiting, signal.SIGKILL)
    it.supervisor.kill("child")

    it.until(lambda: len(it.of("ready")) == 2)

    assert it.supervisor.pids["child"] != waiting


def test_a_standby_that_cannot_stay_is_not_started_over_and_over(
    watched: Callable[..., Watched],
) -> None:
    it = watched(with_standby(LEAVES), policy=AT_ONCE)
    it.until(lambda: bool(it.supervisor.standbys))
    it.until(lambda: not it.supervisor.standbys)
    for _ in range(5):
        it.supervisor.turn(0.01)

    assert not it.supervisor.standbys
    assert it.supervisor.ready


def test_a_standby_is_stopped_with_its_child(watched: Callable[..., Watched]) -> None:
    it = watched(with_standby(WAITS), policy=AT_ONCE)
    it.until(lambda: bool(it.supervisor.standbys))
    waiting = it.supervisor.standbys["child"]
    it.supervisor.stop(2)

    assert not alive(waiting)
    assert not it.supervisor.standbys
