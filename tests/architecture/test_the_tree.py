"""The rules of the house hold for every file of the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture import house, rules, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.architecture.rules import Source


@pytest.mark.parametrize(
    "rule",
    [
        rules.imports_point_one_way,
        rules.libraries_have_one_door,
        rules.heavy_imports_are_lazy,
        rules.pure_files_do_no_io,
        rules.files_are_short,
        rules.functions_are_short,
    ],
)
def test_every_python_file_keeps(rule: Callable[[Source], list[str]]) -> None:
    complaints = [complaint for source in tree.python() for complaint in rule(source)]

    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", [rules.tests_patch_nothing, rules.tests_sleep_only_to_poll])
def test_every_test_keeps(rule: Callable[[Source], list[str]]) -> None:
    tests = [source for source in tree.python() if source.package == "tests"]
    complaints = [complaint for source in tests for complaint in rule(source)]

    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", [rules.no_place_is_named, rules.documents_are_short])
def test_every_text_keeps(rule: Callable[[Source], list[str]]) -> None:
    complaints = [complaint for source in tree.texts() for complaint in rule(source)]

    assert not complaints, "\n".join(complaints)


def test_every_folder_says_what_lives_there() -> None:
    complaints = rules.folders_say_what_lives_there(tree.paths())

    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("pattern", [*house.PURE, *house.NOT_PURE])
def test_every_pure_pattern_names_a_file(pattern: str) -> None:
    assert any(source.lies_in([pattern]) for source in tree.python())
