"""The ledger of outside calls: who made one, and what became of it; `{ns}.effects`.

A record is never changed. Partition n holds the effects of the cases of inbox partition n, so that
the records of one effect have an order, which decides: the first `pending` is the claim.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.base import Instant, Message
from schemas.outcome import Delivery

EFFECT_VERSION = 1
"""A record of a later version is not understood, and its effect is one that nobody knows of."""
EffectState = Literal["pending", "done", "failed", "unknown"]
KEY = re.compile(r"[!-~]{1,100}", re.ASCII)
"""What tells the effects of a task apart: fit for a header of HTTP, where it is sent along."""
_REPLAY = re.compile(r"#\d{1,9}$", re.ASCII)


def effect_id_of(task_id: str, key: str) -> str:
    """`case:step[:index][~undo][@iteration]/key`: the same in every attempt, agent and replay.

    A replay of the task finds what was done before it; it must not do it again.
    """
    return f"{_REPLAY.sub('', task_id)}/{key}"


class Effect(Message):
    """What is said of one outside call; key: `effect_id`.

    `pending`: it may be made from now on. `done`: it happened, with this result. `failed`: it did
    not happen, and may be tried again. `unknown`: its claimant does not know, and has ended.
    """

    ce_type: ClassVar[str] = "caseworks.effect"

    v: int = EFFECT_VERSION
    effect_id: str
    case_id: str
    task_id: str
    key: str
    state: EffectState
    claim: int | None = Field(default=None, ge=0)
    """Offset of the `pending` that this is about; none in a `pending` itself."""
    at: Instant
    until: Instant | None = None
    """Of a `pending`: when its claimant has ended at the latest."""
    result: Any = None
    error: str = ""
    """Why it failed, or what its call raised; of `done`: why there is no result."""
    by: str = ""
    """Who found out: `reconcile` or a person; empty: the claimant."""
    why: str = ""
    """What a person said of it."""
    agent: str = ""
    attempt: int = 0
    worker: str = ""
    life: str = ""
    """Tells the lives of a worker process apart."""
    delivery: Delivery | None = None
    """The record of the task that the claimant worked on."""
