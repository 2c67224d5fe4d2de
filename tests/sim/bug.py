"""A deliberate bug: a piece of the product's source, and what stands there instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One of them; `breaks` names the rule or the invariant."""

    name: str
    breaks: str
    file: str
    before: str
    after: str
    runs_max: int = 20
    profile: str = ""
    app: str = "mixed_app"
    """The module of `tests.sim` that shows it."""

    def put_into(self, source: str) -> str:
        """The source with the bug. Raises `AssertionError` when it has no place there."""
        assert source.count(self.before) == 1, f"{self.name}: {source.count(self.before)} places"
        return source.replace(self.before, self.after)
