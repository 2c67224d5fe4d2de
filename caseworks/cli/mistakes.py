"""Any error as one line: what happened, what to type instead, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from caseworks.cli.output import plain
from events.errors import CaseworksError

USAGE = 2
UNEXPECTED = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One line for a person, and the code for a script."""

    text: str
    hint: str = ""
    code: int = UNEXPECTED


def answer(error: Exception) -> Answer:
    """What to tell about an error that ended a command."""
    # typer carries its own copy of click in newer versions: the class is found by its name.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    match error:
        case CaseworksError(hint=hint, exit_code=code):
            return Answer(_line(str(error.args[0])), _line(hint), code)
        case typer.Abort():
            return Answer("interrupted", code=130)
        case _ if "ClickException" in kinds:
            return _misused(error)
        case _:
            return Answer(
                _line(f"unexpected {type(error).__name__}: {error}"),
                "run it again with --debug for the whole story",
            )


def _misused(error: Exception) -> Answer:
    told = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "caseworks"
    told = told.removeprefix("Invalid value: ")
    text, mark, instead = _line(told).partition(" Did you mean ")
    hint = f"did you mean {instead.rstrip('?')}?" if mark else f"{command} --help"
    return Answer(text, hint, USAGE)


def _line(text: str) -> str:
    """Without line ends and whatever could drive a terminal."""
    return plain(" ".join(text.split()))
