"""The timeline of a case, of which only what its last state does not tell is kept. Pure.

That a step was sent and how it ended stands in the last state. Kept while states pass by are the
moments between: a retry and why, a wait, a question, a round of a loop. They lie as lines of JSON,
`[at_ms, what, step, detail, mark]`; a moment is new when its mark is not the last of its step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from caseworks.projection.measures import instant_of, ms_of
from caseworks.projection.views import MomentView
from caseworks.timeline import Timeline, step_moments
from schemas.lean_case import Case, StepState
from schemas.result import Result

MOMENTS_MAX = 200
"""Kept of one case: the newest."""
DETAIL_CHARS_MAX = 500
_PASSING = frozenset(("retrying", "mapping", "delegated", "listening", "asking", "parked"))
Kept = tuple[int, str, str, str, str]


class Glanced(Protocol):
    """What tells whether a step has something to keep."""

    @property
    def status(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def iteration(self) -> int: ...
    @property
    def replay(self) -> int: ...


def is_passing(steps: Mapping[str, Glanced]) -> bool:
    """Whether a state holds something that its successors may not tell any more."""
    for step in steps.values():
        if step.attempt > 1 or step.status in _PASSING or step.iteration or step.replay:
            return True
    return False


def kept_moments(data: bytes | None) -> list[Kept]:
    """The moments that were kept of a case."""
    return [msgspec.json.decode(line, type=Kept) for line in (data or b"").splitlines()]


def encode_moments(kept: Iterable[Kept]) -> bytes:
    """As they are kept."""
    return b"\n".join(map(msgspec.json.encode, kept))


def add_moments(kept: list[Kept], case: Case, at_ms: int) -> None:
    """Add what is new in this state; *at_ms* is when it was written."""
    last = {step: mark for _, _, step, _, mark in kept}
    undos = {f"{name}~undo": step for name, step in case.undos.items()}
    for name, step in {**case.steps, **undos}.items():
        if not is_passing({name: step}):
            continue
        mark = _mark(step)
        if last.get(name) == mark:
            continue
        for moment in step_moments(name, step, at_ms / 1000):
            detail = moment.detail[:DETAIL_CHARS_MAX]
            kept.append((round(moment.at * 1000), moment.what, name, detail, mark))
    del kept[:-MOMENTS_MAX]


def _mark(step: StepState) -> str:
    """What must differ for something to have happened; of a `map` every tenth of its items."""
    tenth = step.items.done * 10 // max(1, step.items.total) if step.items else 0
    return f"{step.status} {step.replay}.{step.iteration}.{step.attempt} {tenth}"


def derived(
    case: Case | None, result: Result | None, ended: Result | None, kept: list[Kept]
) -> list[MomentView]:
    """What happened, in order. *ended*: the result, where the case has not been opened again."""
    told = [(at, what, step, detail) for at, what, step, detail, _ in kept]
    timeline = Timeline()
    seen = set(told)
    if case is not None:
        for name, step in case.steps.items():
            sent = ms_of(step.first_sent)
            if sent is not None and step.agent:  # nobody is sent what a person is asked
                told.append((sent, "sent", name, f"to {step.agent}"))
        at = case.closed or case.opened
        for moment in timeline.changed(case, at):
            line = (round(moment.at * 1000), moment.what, moment.step, moment.detail)
            if moment.what != "sent" and line[1] not in _PASSING_WORDS and line not in seen:
                told.append(line)
    elif result is not None:
        opened = round(result.opened_at.timestamp() * 1000)
        told.append((opened, "opened", "", f"{result.workflow} {result.event.type}"))
    if ended is not None:
        told += [
            (round(moment.at * 1000), moment.what, moment.step, moment.detail)
            for moment in timeline.answered(ended)
        ]
    told.sort(key=lambda line: (line[0], _ORDER.get(line[1], 2)))
    return [
        MomentView(at=instant_of(at) or "", what=what, step=step, detail=detail)
        for at, what, step, detail in told
    ]


_ORDER = {"opened": 0, "sent": 1}
"""What comes first of what happened at one time."""
_PASSING_WORDS = frozenset(("will retry", "listens", "asks", "maps", "delegates", "parked"))
"""What is kept when it passes by, and so not told a second time."""
