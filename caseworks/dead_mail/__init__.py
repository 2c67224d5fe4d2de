"""Dead letters for people: finding, reading, comparing, replaying and dropping them."""

from __future__ import annotations

from caseworks.dead_mail.letters import Dead
from caseworks.dead_mail.remedy import replay_record

__all__ = ["Dead", "replay_record"]
