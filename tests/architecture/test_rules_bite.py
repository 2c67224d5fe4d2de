"""Each rule on a bad sample and on a good one: a rule that cannot fail proves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture import house, rules
from tests.architecture.rules import Source

if TYPE_CHECKING:
    from collections.abc import Callable

# Built from words, so that this file names no place itself.
WORK, PYPI, HOME = "work", "pypi", "home"


def sized(lines: int) -> str:
    return "x = 1\n" * lines


def function_of(lines: int) -> str:
    return "@decorated\nasync def f():\n" + "    x = 1\n" * (lines - 1)


BAD: list[tuple[Callable[[Source], list[str]], str, str]] = [
    (rules.imports_point_one_way, "schemas/task.py", "import events"),
    (rules.imports_point_one_way, "events/codec.py", "from agents.worker import Worker"),
    (rules.imports_point_one_way, "agents/worker.py", "import coordinator.case as case"),
    (rules.imports_point_one_way, "agents/worker.py", "from .. import coordinator"),
    (rules.imports_point_one_way, "coordinator/case.py", "def f():\n    import agents"),
    (rules.imports_point_one_way, "coordinator/a.py", "import_module('agents.mind')"),
    (rules.imports_point_one_way, "caseworks/app.py", "from tests.sim import world"),
    (rules.imports_point_one_way, "caseworks/app.py", "from examples.helpdesk import app"),
    (rules.imports_point_one_way, "examples/helpdesk/app.py", "from schemas import Task"),
    (rules.libraries_have_one_door, "agents/worker.py", "def f():\n    import litellm"),
    (rules.libraries_have_one_door, "events/ports.py", "from confluent_kafka import Consumer"),
    (rules.libraries_have_one_door, "coordinator/stats.py", "import faust"),
    (rules.heavy_imports_are_lazy, "agents/mind/model.py", "import litellm"),
    (rules.heavy_imports_are_lazy, "agents/a.py", "try:\n    import jgo\nexcept E:\n    pass"),
    (rules.heavy_imports_are_lazy, "events/errors.py", "class A:\n    from rich import print"),
    (rules.pure_files_do_no_io, "coordinator/case.py", "from time import monotonic"),
    (rules.pure_files_do_no_io, "events/topics.py", "import os.path"),
    (rules.pure_files_do_no_io, "schemas/event.py", "def f():\n    import random"),
    (rules.pure_files_do_no_io, "schemas/event.py", "a = datetime.datetime.now(UTC)"),
    (rules.pure_files_do_no_io, "schemas/event.py", "a = uuid4()"),
    (rules.pure_files_do_no_io, "schemas/event.py", "a = open('x')"),
    (rules.files_are_short, "events/a.py", sized(house.FILE_LINES_MAX + 1)),
    (rules.functions_are_short, "tests/a.py", function_of(house.FUNCTION_LINES_MAX + 1)),
    (rules.documents_are_short, "README.md", sized(151)),
    (rules.no_place_is_named, "README.md", f"see /{WORK}/main"),
    (rules.no_place_is_named, "a.lock", f"--index-url https://{PYPI}.org/simple"),
    (rules.no_place_is_named, "a.py", f"x = '/{HOME}/ada'"),
    (rules.tests_patch_nothing, "tests/a.py", "from unittest.mock import patch"),
    (rules.tests_patch_nothing, "tests/a.py", "from unittest import mock"),
    (rules.tests_patch_nothing, "tests/a.py", "def t():\n    monkeypatch.setattr(a, 'b', 1)"),
    (rules.tests_patch_nothing, "tests/a.py", "def t():\n    mocker.patch('a.b')"),
    (rules.tests_sleep_only_to_poll, "tests/a.py", "def t():\n    time.sleep(1)"),
]

GOOD: list[tuple[Callable[[Source], list[str]], str, str]] = [
    (rules.imports_point_one_way, "events/codec.py", "import schemas\nfrom events import a"),
    (rules.imports_point_one_way, "events/codec.py", "from . import errors"),
    (rules.imports_point_one_way, "tests/unit/a.py", "import agents, coordinator"),
    (rules.imports_point_one_way, "examples/a.py", "from caseworks import App"),
    (rules.libraries_have_one_door, house.DOORS["litellm"][0], "def f():\n    import litellm"),
    (rules.libraries_have_one_door, "tests/kafka/a.py", "import confluent_kafka"),
    (rules.heavy_imports_are_lazy, "agents/mind/model.py", "def f():\n    import litellm"),
    (rules.heavy_imports_are_lazy, "agents/a.py", "if TYPE_CHECKING:\n    import jgo"),
    (rules.heavy_imports_are_lazy, "caseworks/cli/main.py", "import typer"),
    (rules.pure_files_do_no_io, "coordinator/case.py", "import timeit\nimport uuid\na = uuid5(x)"),
    (rules.pure_files_do_no_io, "schemas/export.py", "import os"),
    (rules.files_are_short, "events/a.py", sized(house.FILE_LINES_MAX)),
    (rules.functions_are_short, "tests/a.py", function_of(house.FUNCTION_LINES_MAX)),
    (rules.documents_are_short, "README.md", sized(150)),
    (rules.no_place_is_named, "README.md", "rework/this and https://kafka.apache.org/docs/"),
    (rules.tests_patch_nothing, "tests/a.py", "def t():\n    monkeypatch.setenv('A', 'b')"),
    (rules.tests_sleep_only_to_poll, "tests/a.py", "while not done():\n    time.sleep(0.01)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_the_rule_rejects_a_bad_sample(
    rule: Callable[[Source], list[str]], path: str, text: str
) -> None:
    complaints = rule(Source(path, text))

    assert len(complaints) == 1
    assert complaints[0].startswith(path)


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_the_rule_accepts_a_good_sample(
    rule: Callable[[Source], list[str]], path: str, text: str
) -> None:
    assert rule(Source(path, text)) == []


def test_a_folder_without_a_readme_is_named() -> None:
    paths = frozenset({"events/codec.py", "agents/README.md", ".ci/run", "Makefile"})

    complaints = rules.folders_say_what_lives_there(paths)

    assert complaints == ["events/: no README.md; say what lives there and what may not"]
