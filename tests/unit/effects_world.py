"""A ledger of effects on the broker in memory, and the workers that write to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agents.effects.effects import Call, Effects, Reconcile, Wanted
from agents.effects.states import read_effect
from agents.effects.tail import Tail
from agents.threads import Inline
from events import metrics
from events.broker import TopicPartition
from events.memory import MemoryBroker
from events.topics import Topics, TopicSpec
from schemas.effect import Effect, effect_id_of

TOPICS = Topics("cw")
SOURCE = TopicPartition(TOPICS.effects, 0)
TASK = "c-1:refund"


@dataclass
class Office:
    """Workers by name, on one broker and one clock."""

    now: float = 1_800_000_000.0
    known_max: int = 50_000
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    telemetry: metrics.Prometheus = field(default_factory=metrics.Prometheus)

    def __post_init__(self) -> None:
        self.broker.admin().create([TopicSpec(TOPICS.effects, "effect id", 1, "")])

    def worker(self, name: str = "w-0") -> Effects:
        """A new life of that process."""
        producer = self.broker.producer()
        tail = Tail(TOPICS.effects, self.broker.reader, producer, Inline(), self.known_max)
        self.now += 0.001
        return Effects(tail, TOPICS, name, lambda: self.now, self.telemetry)

    def wanted(self, key: str = "pay", *, left_s: float = 10.0, **fields: Any) -> Wanted:
        known: dict[str, Any] = {
            "effect_id": effect_id_of(TASK, key),
            "case_id": "c-1",
            "task_id": TASK,
            "key": key,
            "partition": 0,
            "agent": "refund",
            "attempt": 1,
            "until_s": self.now + left_s,
            "time_left_s": lambda: left_s,
        }
        return Wanted(**{**known, **fields})

    @property
    def records(self) -> list[Effect]:
        """The ledger."""
        found = self.broker.reader().read(SOURCE, 0, 10_000).messages
        return [effect for each in found if (effect := read_effect(each)) is not None]

    @property
    def states(self) -> list[str]:
        """The ledger in short."""
        return [effect.state for effect in self.records]


class Calls:
    """An outside system that counts, and raises what it is told to."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.made: list[str] = []
        self._errors = list(errors)

    async def __call__(self, effect_id: str) -> Any:
        self.made.append(effect_id)
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        return {"receipt": len(self.made)}


def once(
    worker: Effects, wanted: Wanted, call: Call, reconcile: Reconcile | None = None
) -> Awaitable[Any]:
    """In short."""
    return worker.once(wanted, call, reconcile)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """On an event loop of its own."""

    async def main() -> Any:
        return await work()

    return asyncio.run(main())
