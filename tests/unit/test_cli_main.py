from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from caseworks.cli.mistakes import answer
from caseworks.shadowing import OURS, ROOT, shadows
from events.errors import DuplicateNameError, SetupError
from tests.unit.command_line import CommandLine


def in_process(
    *args: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(
        [sys.executable, "-P", "-m", "caseworks", *args],
        cwd=cwd,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_lists_every_command() -> None:
    ran = CommandLine()("--help")
    assert ran.code == 0
    commands = (
        "demo init up publish results approvals case dlq lag doctor coordinator worker kafka topics"
    )
    for command in (*commands.split(), "schemas"):
        assert f" {command} " in ran.out


HEAVY = ("confluent_kafka", "pydantic", "structlog", "prometheus_client", "rich.progress", "jgo")


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from caseworks.cli import run; run(['--help']);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.slow
def test_help_costs_less_than_half_a_second() -> None:
    """Of the processor: how long that takes is the neighbours' business too."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert in_process("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.5


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("pubish",), "error: No such command 'pubish'.  hint: did you mean 'publish'?"),
        (("case", "shwo"), "error: No such command 'shwo'.  hint: did you mean 'show'?"),
        (("frobnicate",), "error: No such command 'frobnicate'.  hint: caseworks --help"),
        (("lag", "--frob"), "error: No such option: --frob  hint: caseworks lag --help"),
        (("case", "show"), "error: Missing argument 'ID'.  hint: caseworks case show --help"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(args: tuple[str, ...], line: str) -> None:
    ran = CommandLine()(*args)
    assert (ran.code, ran.out, ran.err) == (2, "", line + "\n")


def test_an_error_of_ours_is_one_line_with_its_exit_code() -> None:
    found = answer(SetupError("no Kafka\nanswers at \x1b[2J nowhere", hint="start one"))
    assert (found.text, found.code) == ("no Kafka answers at \\x1b[2J nowhere", 3)
    assert found.hint == "start one"
    assert answer(DuplicateNameError("twice")).code == 75


def test_an_unexpected_error_is_one_line_too() -> None:
    found = answer(ZeroDivisionError("division by zero"))
    assert found.text == "unexpected ZeroDivisionError: division by zero"
    assert "--debug" in found.hint


def test_no_traceback_unless_asked_for(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    quiet = in_process("topics", "check", "--app", "broken:app", cwd=tmp_path)
    assert quiet.returncode == 1
    assert quiet.stderr.count("\n") == 1
    loud = in_process("--debug", "topics", "check", "--app", "broken:app", cwd=tmp_path)
    assert "Traceback" in loud.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-P", "-m", "caseworks", "--help"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert "error" not in err


@pytest.mark.parametrize("name", [name for name in OURS if name != "caseworks"])
def test_a_module_of_the_user_that_hides_ours_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    ran = in_process("topics", "check", cwd=tmp_path)
    assert ran.returncode == 3
    assert ran.stderr.count("\n") == 1
    assert f"{name!r} is {tmp_path / name}.py" in ran.stderr
    assert "rename it" in ran.stderr


def test_a_package_of_somebody_else_hides_ours_too_but_a_bare_folder_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")
    assert shadows([str(tmp_path), *sys.path]) == {"agents": tmp_path / "agents" / "__init__.py"}
    assert shadows([str(ROOT)]) == {}
