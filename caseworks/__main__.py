"""`python -m caseworks` is the command `caseworks`."""

from __future__ import annotations

from caseworks.cli import main

if __name__ == "__main__":
    main()
