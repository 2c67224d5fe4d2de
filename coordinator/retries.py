"""Retry budgets: an outage must not become a storm of retries.

Of each agent the owner of a partition sends, over a window, at most `floor_per_s` retries a second
plus a share of its first attempts. A retry beyond that gets the next free slot when it is scheduled
and so waits once: it is not dropped, and burns no attempt. What a dependency puts off (`deferred`)
is no retry.

What a turn takes is its own until the turn is committed, like everything else that it changes: a
turn may be planned more than once before that.

Sources: retry budgets as in Finagle (a share and a floor); slots by the virtual scheduling form of
the generic cell rate algorithm (ITU-T I.371).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

WINDOW_S = 10.0
"""First attempts are counted over this, and so many seconds of unspent budget may go at once."""
POSTPONE_MAX_S = 600.0
"""No retry is put off by more; beyond, back-off and jitter spread them."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How many retries an agent gets."""

    share: float = 0.2
    """Of its first attempts."""
    floor_per_s: float = 10.0


DEFAULT_LIMITS = RetryLimits()


@dataclass(slots=True)
class _Budget:
    """Of one agent."""

    began: float = 0.0
    """When the current window did."""
    firsts: int = 0
    before: int = 0
    """First attempts of the window before."""
    slot: float = 0.0
    """When the last slot that was given away is over, at the rate of then."""

    def turn_to(self, now: float) -> None:
        passed = now - self.began
        if 0 <= passed < WINDOW_S:
            return
        self.before = self.firsts if WINDOW_S <= passed < 2 * WINDOW_S else 0
        self.firsts, self.began = 0, now


@dataclass(slots=True)
class RetryBudgets:
    """By agent, in the process that owns the partitions. Not thread-safe."""

    limits: RetryLimits = DEFAULT_LIMITS
    _of: dict[str, _Budget] = field(default_factory=dict)
    _touched: dict[str, _Budget] = field(default_factory=dict)
    """As they are when the turn is committed."""

    def keep(self) -> None:
        """What was counted so far was sent."""
        self._of.update(self._touched)
        self._touched.clear()

    def take_back(self) -> None:
        """What was counted since the last `keep` was not."""
        self._touched.clear()

    def first(self, agent: str, now: float) -> None:
        """A first attempt was sent."""
        budget = self._touched.get(agent) or self._touch(agent, now)
        if not 0 <= now - budget.began < WINDOW_S:
            budget.turn_to(now)
        budget.firsts += 1

    def retry_at(self, agent: str, due: float, now: float) -> float:
        """When a retry that is due then may be sent: then, or later. It is counted as sent."""
        budget = self._touched.get(agent) or self._touch(agent, now)
        budget.turn_to(now)
        fresh = 1.0 - (now - budget.began) / WINDOW_S
        per_s = (budget.firsts + budget.before * fresh) / WINDOW_S
        rate = self.limits.floor_per_s + self.limits.share * per_s
        slot = max(budget.slot, now) + 1.0 / rate
        late = min(max(0.0, slot - now - WINDOW_S), POSTPONE_MAX_S)
        budget.slot = min(slot, now + WINDOW_S + POSTPONE_MAX_S)
        return due + late

    def _touch(self, agent: str, now: float) -> _Budget:
        known = self._of.get(agent)
        budget = self._touched[agent] = _Budget(began=now) if known is None else replace(known)
        return budget
