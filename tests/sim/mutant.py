"""Plays the checker with one deliberate bug in the product: `python -m tests.sim.mutant NAME`.

The bug is put in while its module is imported, from its source; nothing on disk changes. Writes
one line of JSON: the run that caught it (from 1) and the rules that it broke, or null.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType

from tests.sim.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
OURS = ("agents", "caseworks", "coordinator", "events", "schemas")


class Mutated(SourceLoader):
    """Loads one module with a piece of its source replaced."""

    def __init__(self, bug: Bug) -> None:
        self._bug = bug

    def get_filename(self, fullname: str) -> str:
        return str(ROOT / self._bug.file)

    def get_data(self, path: str | bytes) -> bytes:
        return self._bug.put_into(Path(str(path)).read_text("utf-8")).encode()

    def path_stats(self, path: str) -> Mapping[str, int]:
        raise OSError(path)  # so that no byte code is read or written


class Finder:
    """Answers for the module of the bug, and for nothing else."""

    def __init__(self, bug: Bug) -> None:
        self._bug = bug
        self._module = bug.file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != self._module:
            return None
        return spec_from_loader(fullname, Mutated(self._bug))


def caught(bug: Bug) -> dict[str, object] | None:
    """The first run that shows the bug."""
    assert not [name for name in sys.modules if name.partition(".")[0] in OURS]
    assert PathFinder in sys.meta_path
    sys.meta_path.insert(0, Finder(bug))
    from caseworks.check.pool import play
    from caseworks.check.runs import Check

    shows = import_module(f"tests.sim.{bug.app}")
    check = Check(shows.app, tuple(shows.demo_events()), bug.profile)
    for run, (_, findings) in enumerate(play(check, range(1, bug.runs_max + 1)), 1):
        for finding in findings:
            rules = sorted({violation.rule for violation in finding.violations})
            first = str(finding.violations[0])
            return {"run": run, "rules": rules, "first": first}
    return None


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # a broken system may leave anything behind
    for name in sys.argv[1:]:
        print(json.dumps(caught(BUGS[name])))  # noqa: T201 - the answer
