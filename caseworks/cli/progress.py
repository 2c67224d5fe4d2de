"""Progress of things that take a while: a bar in a terminal, a line each elsewhere; on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from caseworks.cli.output import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Steps:
    """One bar at a time; a step that begins ends the one before. A context manager."""

    def __init__(self) -> None:
        self._shown: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> Self:
        """Nothing is drawn before the first step."""
        return self

    def __exit__(self, *_reason: object) -> None:
        self.close()

    def progress(self, what: str, fraction: float) -> None:
        """How far a step is, 0 to 1."""
        if not sys.stderr.isatty():
            if what != self._what:
                self._what = what
                note(what)
            return
        shown = self._shown or self._draw()
        if what != self._what or self._task is None:
            self._finish()
            self._what = what
            self._task = shown.add_task(what, total=1.0)
        # Unknown how far: a bar that moves.
        shown.update(self._task, completed=fraction, total=1.0 if fraction else None)

    def close(self) -> None:
        """Leave the terminal to others."""
        if self._shown is not None:
            self._finish()
            self._shown.stop()
        self._shown, self._task, self._what = None, None, ""

    def _finish(self) -> None:
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, total=1.0, completed=1.0)

    def _draw(self) -> Progress:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from caseworks.cli.output import console

        self._shown = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=console(sys.stderr),
        )
        self._shown.start()
        return self._shown
