"""The ids of traces and spans, derived from what they are of. Pure.

Every process that handles a case can so name its trace, and the span that is another's parent,
without being told; and a span that is made twice is the same span. A trace id is that of the
event's `traceparent` (W3C Trace Context, level 1), else a digest of the case id; a span id is a
digest of what it stands for (the first 16 and 8 bytes of SHA-256).
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_SAMPLED = 1


class TraceParent(NamedTuple):
    """What a `traceparent` says: ids in hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool


def read_traceparent(text: str | None) -> TraceParent | None:
    """`None` for none, and for what is none by the standard."""
    found = _TRACEPARENT.fullmatch(text or "")
    if found is None:
        return None
    return TraceParent(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))


def traceparent_of(trace_id: str, span_id: str, *, sampled: bool = True) -> str:
    """As it travels."""
    return f"00-{trace_id}-{span_id}-{int(sampled):02x}"


def trace_id_for(case_id: str, traceparent: str | None) -> str:
    """The trace of a case, 32 digits: the one that its event came with, else one of its own."""
    known = read_traceparent(traceparent)
    return known.trace_id if known else _digest("trace", case_id)[:32]


def publish_span(case_id: str) -> str:
    """From the event's time to the opening of its case."""
    return _span("publish", case_id)


def case_span(case_id: str, number: int = 1) -> str:
    """A case up to its result of this number: the second amends the first."""
    return _span("case", case_id, number)


def step_span(case_id: str, step: str, replay: int = 0) -> str:
    """A step, or its undoing as `<step>~undo`, with all its attempts."""
    return _span("step", case_id, step, replay)


def approval_span(case_id: str, step: str, replay: int = 0) -> str:
    """While people were asked about a step."""
    return _span("approval", case_id, step, replay)


def attempt_span(task_id: str, attempt: int) -> str:
    """One attempt at a task."""
    return _span("attempt", task_id, attempt)


def result_span(case_id: str, number: int = 1) -> str:
    """From the end of the last step to the result."""
    return _span("result", case_id, number)


def _span(*what: object) -> str:
    return _digest(*what)[:16]


def _digest(*what: object) -> str:
    return sha256("\n".join(map(str, what)).encode()).hexdigest()
