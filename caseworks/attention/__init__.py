"""What a person should look at now, in one list, each with the command that mends it."""

from __future__ import annotations

from caseworks.attention.look import LIMITS, Limits, look
from caseworks.attention.views import Attention, Concern, Inputs

__all__ = ["LIMITS", "Attention", "Concern", "Inputs", "Limits", "look"]
