"""When to try again: full jitter, drawn from a hash so that a replayed changelog agrees (I5).

Source of the algorithm: "Exponential Backoff And Jitter" (full jitter), AWS Architecture Blog.
"""

from __future__ import annotations

from hashlib import blake2b

from coordinator.states import ENDED
from schemas.lean_case import StepState


def due_of(state: StepState) -> float | None:
    """When something is due of a step that runs."""
    status = state.status
    if status in ("retrying", "mapping"):
        at = state.due
    else:
        at = state.deadline if status not in ENDED else None
    if state.look is not None and status in ("sent", "retrying"):
        return state.look if at is None else min(at, state.look)
    return at


def fraction(task_id: str, attempt: int) -> float:
    """A number in [0, 1) that depends on the task and the attempt only."""
    digest = blake2b(f"{task_id}:{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def delay_s(task_id: str, attempt: int, base_s: float, max_s: float) -> float:
    """Seconds before the attempt after `attempt`: uniform in [0, min(max, base * 2**(n-1))]."""
    ceiling = min(max_s, base_s * 2.0 ** min(attempt - 1, 30))
    return ceiling * fraction(task_id, attempt)
