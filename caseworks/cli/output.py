"""What commands write: tables for people, JSON for scripts, and nothing that drives a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""


def plain(text: object) -> str:
    """Text from outside, fit for a terminal: what is not printable is written as an escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in str(text)
    )


def console(stream: TextIO | None = None) -> Console:
    """A console on stdout (or *stream*); narrow only where a person's terminal is."""
    from rich.console import Console

    out = stream or sys.stdout
    width = None if out.isatty() else PIPE_WIDTH
    return Console(file=out, width=width, highlight=False, soft_wrap=False)


def say(text: str, *, stream: TextIO | None = None) -> None:
    """One line, as it is: no markup, no wrapping, at once."""
    print(text, file=stream or sys.stdout, flush=True)


def note(text: str) -> None:
    """One line for the person, on stderr: a script's stdout stays clean."""
    say(text, stream=sys.stderr)


def write_json(value: Any) -> None:
    """One JSON value on one line, at once."""
    say(json.dumps(value, ensure_ascii=False, default=str))


def write_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = ""
) -> None:
    """A table on stdout; `right` names the columns (by letter position) that hold numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", expand=False)
    for at, name in enumerate(columns):
        numeric = str(at) in right.split()
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain("" if cell is None else cell)) for cell in row))
    console().print(table)
