"""Keys name the states within a case.

`check` is a step, `check.lookup` one that the agent of `check` asked for, `check:17` an item of a
`map` (kept as a part of the case), `check~undo` the undoing of a step. A task id is the case id, a
colon, a key, and the numbers of iteration and replay.
"""

from __future__ import annotations

from schemas.lean_case import StepState
from schemas.task import TaskName

WAITING = StepState()
UNDO = "~undo"


def key_of(name: TaskName) -> str:
    """The key of what a task id names."""
    return name.key + UNDO if name.undo else name.key


def step_of(key: str) -> str:
    """The step that a key belongs to: itself but for an item of a `map` and an undoing."""
    return key.partition(":")[0].removesuffix(UNDO)


def index_of(key: str) -> int | None:
    """Which item of a `map` a key names, if it names one."""
    index = key.partition(":")[2]
    return int(index) if index else None
