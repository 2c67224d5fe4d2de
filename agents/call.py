"""The one handler type: everything around an agent takes a `Call` and gives a `Verdict`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from agents.agent import Agent
from agents.context import Context
from agents.outcomes import Verdict
from agents.services import Services
from schemas.lean import LeanTask
from schemas.usage import NOTHING, Usage


class Call(Struct, eq=False):
    """One attempt on its way through the wrappers."""

    agent: Agent
    task: LeanTask
    context: Context
    services: Services
    arguments: Sequence[Any] = ()
    """What the function is called with; put there by `wrappers.checked_input`."""
    usage: Usage = NOTHING
    """What the attempt cost; put there by `wrappers.metered`."""


Handler = Callable[[Call], Coroutine[Any, Any, Verdict]]
Wrapper = Callable[[Handler], Handler]
