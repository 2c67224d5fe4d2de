"""Letting a person change a text in the editor of their choice."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from events.errors import SetupError


def in_editor(text: str) -> str:
    """The text after a person had it in $VISUAL, $EDITOR or vi. Raises `SetupError`."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory(prefix="caseworks-") as folder:
        path = Path(folder) / "letter.json"
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(command), str(path)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            told = f"the editor {command!r} did not do: {error}"
            raise SetupError(told, hint="set EDITOR; nothing was sent") from None
        return path.read_text(encoding="utf-8")
