"""The command line. `main` is the command `caseworks`; one file per family of commands.

Every file imports typer and the standard library at the top and the rest inside its commands:
`caseworks --help` must come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from caseworks import shadowing

if TYPE_CHECKING:
    from caseworks.cli.base import Deps

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command in `sys.argv` and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str], deps: Deps | None = None) -> int:
    """Run one command; a mistake becomes one line on stderr. Returns the exit code.

    `deps` replaces the outside world in tests.
    """
    # Nothing of ours is imported before this: it could be somebody else's.
    if hidden := shadowing.shadows([str(Path.cwd()), *sys.path]):
        return _tell(*shadowing.explain(hidden), code=3)
    from caseworks.cli.mistakes import answer
    from caseworks.cli.root import app

    try:
        return int(app(list(args), standalone_mode=False, obj=deps, prog_name="caseworks") or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader (`head`, `less`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("CASEWORKS_DEBUG"):
            raise
        found = answer(error)
        return _tell(found.text, found.hint, code=found.code)


def _tell(text: str, hint: str, *, code: int) -> int:
    line = f"error: {text}" + (f"  hint: {hint}" if hint else "")
    print(line, file=sys.stderr)  # noqa: T201 - the one line
    return code
