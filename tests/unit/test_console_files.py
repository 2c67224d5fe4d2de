"""The console's files: nothing parses markup, nothing comes from elsewhere, all of it is there."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

CONSOLE = Path(str(files("caseworks").joinpath("console")))
SCRIPTS = sorted(CONSOLE.glob("js/**/*.js"))
STYLES = sorted(CONSOLE.glob("css/*.css"))
INDEX = CONSOLE / "index.html"
LINES_MAX = 400
PARSES_MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    r"|setHTML|\beval\b|new Function|javascript:|set(?:Timeout|Interval)\(\s*[\"'`]"
)
ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", re.IGNORECASE)
NAMESPACE = "http://www.w3.org/2000/svg"
IMPORT = re.compile(r'from "(\.[^"]+)";')


def test_there_is_a_console() -> None:
    assert len(SCRIPTS) > 20
    assert len(STYLES) > 3


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(CONSOLE).as_posix())
def test_no_script_parses_markup_or_text_as_code(path: Path) -> None:
    assert PARSES_MARKUP.findall(path.read_text(encoding="utf-8")) == []


def test_the_rule_about_markup_can_be_broken() -> None:
    assert PARSES_MARKUP.search("node.innerHTML = ticket.text")
    assert PARSES_MARKUP.search("setTimeout('go()', 5)")


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES, INDEX], ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace(NAMESPACE, "")

    assert ELSEWHERE.findall(text) == []
    assert "@import" not in text


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    text = INDEX.read_text(encoding="utf-8")

    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", text) == []


def test_the_page_refuses_markup_as_text_by_policy() -> None:
    text = INDEX.read_text(encoding="utf-8")

    assert "default-src 'self'" in text
    assert "require-trusted-types-for 'script'" in text


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES], ids=lambda path: path.name)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:src|href)="([^"#]+)"', INDEX.read_text(encoding="utf-8"))

    assert len(named) > 6
    assert [name for name in named if not (CONSOLE / name).is_file()] == []


def test_every_import_leads_to_a_file_and_every_file_is_imported() -> None:
    reached = {CONSOLE / "js/main.js", CONSOLE / "js/theme-early.js"}
    for path in SCRIPTS:
        for found in IMPORT.findall(path.read_text(encoding="utf-8")):
            reached.add((path.parent / found).resolve())

    assert {path.resolve() for path in reached} == {path.resolve() for path in SCRIPTS}
