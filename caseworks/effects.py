"""Outside calls of which nobody knows whether they happened, and what people found out."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agents.effects.effects import SLACK_S
from agents.effects.states import EffectLog, Standing, read_effect
from caseworks.inbox import produce
from caseworks.scan import partition_counts, partitions_of, records
from events.broker import Broker, Message, TopicPartition
from events.envelope import record_of
from events.errors import PayloadError, SetupError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.base import instant
from schemas.effect import Effect


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A claim that nobody has ended with a result."""

    effect_id: str
    standing: Standing
    claim: Effect | None
    """`None`: it cannot be read."""
    error: str = ""
    """What its call raised, as far as that was written."""

    def running_at(self, now: float) -> bool:
        """Whether its claimant may still be at it. `now` in seconds since the epoch."""
        until = self.claim.until if self.claim is not None else None
        if self.standing.state != "claimed" or until is None:
            return False
        return until.timestamp() + SLACK_S > now


def unsettled(messages: Iterable[Message]) -> list[Unsettled]:
    """Those that these records leave open, the oldest first."""
    logs: dict[TopicPartition, EffectLog] = defaultdict(lambda: EffectLog(sys.maxsize))
    found: dict[str, Unsettled] = {}
    for message in messages:
        log, name = logs[message.source], (message.key or b"").decode("utf-8", "replace")
        log.learn((message,))
        standing, said = log.standing(name), read_effect(message)
        if standing is None or standing.state in ("free", "done"):
            found.pop(name, None)
        elif name not in found or found[name].standing.offset != standing.offset:
            found[name] = Unsettled(name, standing, said)
        else:
            error = said.error if said is not None else ""
            found[name] = Unsettled(name, standing, found[name].claim, error)
    return list(found.values())


def open_effects(broker: Broker, settings: Settings) -> list[Unsettled]:
    """Every unsettled effect of the namespace; reads the whole ledger."""
    sources = partitions_of(partition_counts(broker), [settings.topics.effects])
    with closing(broker.reader()) as reader:
        return [each for source in sources for each in unsettled(records(reader, source))]


def resolve(  # noqa: PLR0913 - what a person has to say
    broker: Broker,
    settings: Settings,
    effect_id: str,
    *,
    happened: bool,
    result: Any = None,
    by: str,
    why: str = "",
    now: float,
) -> Effect:
    """Write what a person found out about an effect; the next attempt goes by it.

    Raises `PayloadError` when nothing is open about it, or its claimant may still be at it;
    `SetupError` when Kafka did not take it.
    """
    sources = partitions_of(partition_counts(broker), [settings.topics.effects])
    case_id = effect_id.partition(":")[0]
    source = sources[partition_of(case_id.encode(), len(sources))]
    key = effect_id.encode()
    with closing(broker.reader()) as reader:
        about = unsettled(each for each in records(reader, source) if each.key == key)
    if not about:
        raise PayloadError("not_open", f"nothing is open about the effect {effect_id}")
    [found] = about
    if found.running_at(now):
        raise PayloadError("claimed", f"the call of {effect_id} may be under way: try again later")
    task_id, _, name = effect_id.partition("/")
    effect = Effect(
        effect_id=effect_id,
        case_id=case_id,
        task_id=found.claim.task_id if found.claim is not None else task_id,
        key=name,
        state="done" if happened else "failed",
        claim=found.standing.offset,
        at=instant(now),
        result=result if happened else None,
        by=by,
        why=why,
    )
    record = record_of(
        effect,
        Effect.ce_type,
        topic=source.topic,
        key=effect_id,
        ce_id=str(uuid4()),
        source="caseworks/cli",
        now=now,
        partition=source.partition,
    )
    refused = produce(broker, [record])
    if refused:
        raise SetupError(f"it was not acknowledged: {refused[0]}", hint="caseworks doctor")
    return effect
