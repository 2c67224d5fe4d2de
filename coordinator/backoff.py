"""When to try again: full jitter, drawn from a hash so that a replayed changelog agrees (I5).

Source of the algorithm: "Exponential Backoff And Jitter" (full jitter), AWS Architecture Blog.
"""

from __future__ import annotations

from hashlib import blake2b


def fraction(task_id: str, attempt: int) -> float:
    """A number in [0, 1) that depends on the task and the attempt only."""
    digest = blake2b(f"{task_id}:{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def delay_s(task_id: str, attempt: int, base_s: float, max_s: float) -> float:
    """Seconds before the attempt after `attempt`: uniform in [0, min(max, base * 2**(n-1))]."""
    ceiling = min(max_s, base_s * 2.0 ** min(attempt - 1, 30))
    return ceiling * fraction(task_id, attempt)
