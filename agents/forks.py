"""What becomes of a fork of a worker: it may do what it was forked for, and no more.

An agent may fork, and `multiprocessing` does. The child is a copy of this thread alone; were it to
come back to our code, it would go on as a second worker on the same sockets, with tasks that the
parent runs too. So it ends at the moment when the agent's function would return to us, or to the
event loop; before that it is the agent's business. Costs nothing until somebody forks; then the
child's calls are watched, except those of `multiprocessing`, whose children never come back.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

RETURNED = 70
"""Exit code of a fork that came back."""

_OURS = (str(Path(__file__).parent) + os.sep, str(Path(asyncio.__file__).parent) + os.sep)
_ENDS_ITSELF = str(Path(multiprocessing.__file__).parent / "popen_fork.py")
_installed = False


def end_forks_that_return() -> None:
    """Watch over every fork of this process from now on; may be called again."""
    global _installed  # noqa: PLW0603 - a handler cannot be taken back, nor should it be twice
    if not _installed:
        _installed = True
        os.register_at_fork(after_in_child=_watch)


def _watch() -> None:
    """Runs in the child, in the middle of the call that forked it."""
    border: FrameType | None = sys._getframe(1)  # noqa: SLF001 - what inspect.currentframe returns
    while border is not None and not border.f_code.co_filename.startswith(_OURS):
        if border.f_code.co_filename == _ENDS_ITSELF:
            return
        border = border.f_back
    if border is None:
        return  # nobody of ours called it

    def crossed(frame: FrameType, event: str, _value: Any) -> None:
        if frame is border or (event == "return" and frame.f_back is border):
            os._exit(RETURNED)

    sys.setprofile(crossed)
