"""A `dlq replay` or `dlq drop` as it was typed, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from caseworks.cli.dlq.options import Filters

NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True)
class Asked:
    """One command as it was typed."""

    action: Literal["replay", "drop"]
    places: tuple[str, ...]
    filters: Filters
    all: bool
    by: str
    why: str
    rate: str = "100/s"
    limit: int | None = None
    replays_max: int | None = None
    force: bool = False
    patch: Any = None
    edit: bool = False
    name: str = ""
    resume: str = ""
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    def problem(self) -> str:
        """What is wrong with it; empty: nothing."""
        selects = self.filters.any or self.all
        if self.resume and (self.places or selects or self.name or self.patch is not None):
            return "--resume goes on with what the run was told: say nothing more about it"
        if not self.resume and bool(self.places) == selects:
            return "name the dead letters, or say which by filters or --all"
        if self.name and not selects:
            return "--name names the run of a selection"
        if not NAME_CHARS.issuperset(self.name) or len(self.name) > 64:
            return "a name is of letters, digits, _ and -, at most 64"
        if not self.resume and not self.why and (selects or len(self.places) > 1):
            return "say --why: it is for more than one dead letter"
        if len(set(self.places)) < len(self.places):
            return "a dead letter is named twice"
        return ""
