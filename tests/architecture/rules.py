"""The checks behind the house rules: each takes sources, returns complaints, reads nothing else.

A complaint says where, what, and what to do instead. A rule is pure, so that its own test can hand
it a bad sample.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tests.architecture import house

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """One file of the repository: its path from the root and its text."""

    path: str
    text: str

    @property
    def package(self) -> str:
        """The folder at the root that the file lives in, or its own name at the root."""
        return PurePosixPath(self.path).parts[0]

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of it: most rules look at all of them."""
        return tuple(ast.walk(self.tree))

    def lies_in(self, patterns: Iterable[str]) -> bool:
        """Whether one of the patterns names this file."""
        return any(fnmatch(self.path, pattern) for pattern in patterns)


# ---- imports


def imports_of(source: Source) -> Iterator[tuple[int, str]]:
    """Every import as (line, dotted name): static, relative, lazy, and by literal string."""
    for node in source.nodes:
        yield from _imported_by(source, node)


def _imported_by(source: Source, node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Import(names=names):
            yield from ((node.lineno, alias.name) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = _absolute(source.path, module, level)
            yield from ((node.lineno, f"{base}.{alias.name}".lstrip(".")) for alias in names)
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if _last_name(func) in {
            "import_module",
            "__import__",
        }:
            yield node.lineno, name
        case _:
            pass


def _absolute(path: str, module: str | None, level: int) -> str:
    above = PurePosixPath(path).parts[:-level] if level else ()
    return ".".join([*above, *([module] if module else [])])


def _last_name(func: ast.expr) -> str:
    return _dotted(func).rpartition(".")[2]


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value)}.{attr}"
        case _:
            return "?"


def _names(module: str, wanted: Iterable[str]) -> str | None:
    """The wanted module that `module` is or lies in."""
    return next((w for w in wanted if module == w or module.startswith(f"{w}.")), None)


def imports_point_one_way(source: Source) -> list[str]:
    """`schemas <- events <- agents, coordinator <- caseworks <- examples`, and nothing back."""
    allowed = house.MAY_IMPORT.get(source.package)
    if allowed is None:
        return []
    ours = house.MAY_IMPORT.keys() | house.WORKSHOP
    forbidden = ours - allowed - {source.package}
    may = ", ".join(sorted(allowed)) or "none of the others"
    return [
        f"{source.path}:{line}: imports {module}; {source.package} may import {may}"
        for line, module in imports_of(source)
        if module.partition(".")[0] in forbidden
    ]


def libraries_have_one_door(source: Source) -> list[str]:
    """A client library is imported by its adapter alone."""
    if source.package not in house.MAY_IMPORT:
        return []
    return [
        f"{source.path}:{line}: imports {library}, which only {' '.join(house.DOORS[library])} may"
        for line, module in imports_of(source)
        if (library := _names(module, house.DOORS)) and not source.lies_in(house.DOORS[library])
    ]


def heavy_imports_are_lazy(source: Source) -> list[str]:
    """What is slow to import is imported where it is used; terminal libraries by the front door."""
    if source.package not in house.MAY_IMPORT:
        return []
    heavy = house.HEAVY | (house.TERMINAL if source.package != "caseworks" else frozenset())
    return [
        f"{source.path}:{line}: imports {module} with the module; import it where it is used"
        for node in _at_import_time(source.tree.body)
        for line, module in _imported_by(source, node)
        if _names(module, heavy)
    ]


def _at_import_time(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: not in functions, not under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, FUNCTIONS):
            continue
        if isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING"):
            yield from _at_import_time(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from _at_import_time(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _at_import_time(handler.body)


# ---- purity


def pure_files_do_no_io(source: Source) -> list[str]:
    """A pure file imports no clock, dice, thread, process or client, and calls none."""
    if not source.lies_in(house.PURE) or source.lies_in(house.NOT_PURE):
        return []
    imported = [
        f"{source.path}:{line}: a pure file imports {module}; take what it gives as an argument"
        for line, module in imports_of(source)
        if _names(module, house.IMPURE_MODULES)
    ]
    called = [
        f"{source.path}:{node.lineno}: a pure file calls {call}(); take its value as an argument"
        for node in source.nodes
        if isinstance(node, ast.Call)
        and (call := ".".join(_dotted(node.func).split(".")[-2:])) in house.IMPURE_CALLS
    ]
    return imported + called


# ---- size


def files_are_short(source: Source) -> list[str]:
    """One idea a file."""
    lines, limit = len(source.text.splitlines()), house.FILE_LINES_MAX
    return [f"{source.path}: {lines} lines, at most {limit}"] if lines > limit else []


def functions_are_short(source: Source) -> list[str]:
    """One thought a function; decorators do not count."""
    return [
        f"{source.path}:{node.lineno}: {node.name} has {lines} lines,"
        f" at most {house.FUNCTION_LINES_MAX}"
        for node in source.nodes
        if isinstance(node, FUNCTIONS)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > house.FUNCTION_LINES_MAX
    ]


def documents_are_short(source: Source) -> list[str]:
    """A document that is read in one sitting is read."""
    lines, limit = len(source.text.splitlines()), house.DOCUMENT_LINES_MAX.get(source.path)
    return [f"{source.path}: {lines} lines, at most {limit}"] if limit and lines > limit else []


# ---- text


def no_place_is_named(source: Source) -> list[str]:
    """No path of one machine and no package index: both are the reader's own."""
    forbidden = re.compile(f"{house.MACHINE_PATH}|{house.INDEX_HOST}", re.IGNORECASE)
    return [
        f"{source.path}:{number}: names {found[0]!r}, a machine path or a package index"
        for number, line in enumerate(source.text.splitlines(), 1)
        if (found := forbidden.search(line))
    ]


def folders_say_what_lives_there(paths: frozenset[str]) -> list[str]:
    """Every folder at the root has a README.md; hidden ones belong to tools."""
    folders = {path.partition("/")[0] for path in paths if "/" in path and path[0] != "."}
    return [
        f"{folder}/: no README.md; say what lives there and what may not"
        for folder in sorted(folders)
        if f"{folder}/README.md" not in paths
    ]


# ---- tests


def tests_patch_nothing(source: Source) -> list[str]:
    """Fakes go in at the ports; a patched test proves that the patch works."""
    patched = [
        (line, module)
        for line, module in imports_of(source)
        if _names(module, {"unittest.mock", "mock", "pytest_mock"})
    ] + [
        (node.lineno, _dotted(node))
        for node in source.nodes
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"(?:monkeypatch\.(?:set|del)(?:attr|item)|mocker\..*)", _dotted(node))
    ]
    return [
        f"{source.path}:{line}: {what} patches code; hand a fake to the port instead"
        for line, what in patched
    ]


def tests_sleep_only_to_poll(source: Source) -> list[str]:
    """`time.sleep` outside of a loop waits for luck: poll until, with a deadline."""
    polls = {
        id(node)
        for loop in source.nodes
        if isinstance(loop, (ast.For, ast.While))
        for node in ast.walk(loop)
    }
    return [
        f"{source.path}:{node.lineno}: sleeps outside of a loop; poll until, with a deadline"
        for node in source.nodes
        if isinstance(node, ast.Call)
        and _dotted(node.func) in {"time.sleep", "sleep"}
        and id(node) not in polls
    ]
