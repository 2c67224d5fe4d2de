"""The invariant of `ctx.effect`: I13, by the calls that were made and by what the ledger says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from agents.effects.states import EffectLog, Standing
from caseworks.check.evidence import Evidence, Read
from schemas.outcome import Delivery

Place = tuple[str, int, int]


def called_at_most_once(evidence: Evidence) -> Iterator[str]:
    """Each call is made once, and once more for each time that somebody said it had not happened.

    Whoever answers `done` has written what became of its calls before.
    """
    refuted = Counter(r.said.effect_id for r in evidence.effects if r.said.state == "failed")
    for effect_id, count in evidence.calls.items():
        if count > 1 + refuted[effect_id]:
            yield (
                f"effect {effect_id} was called {count} times, and {refuted[effect_id]} times it "
                "was said that it had not happened"
            )
    yield from _claims_before_calls(evidence)
    yield from _ends_before_outcomes(evidence)


def _claims_before_calls(evidence: Evidence) -> Iterator[str]:
    """What was called was claimed, by a claim that counts."""
    counted = Counter(read.said.effect_id for read in _claims(evidence))
    for effect_id, count in evidence.calls.items():
        if count > counted[effect_id]:
            yield f"effect {effect_id} was called {count} times on {counted[effect_id]} claims"


def _ends_before_outcomes(evidence: Evidence) -> Iterator[str]:
    """What became of a claim stands in the log before its attempt is `done`."""
    ended: dict[tuple[str, int | None], int] = {}
    for read in evidence.effects:
        if read.said.claim is not None:
            ended.setdefault((read.said.effect_id, read.said.claim), read.at)
    claims: dict[Place, list[Read]] = defaultdict(list)
    for read in _claims(evidence):
        if read.said.delivery is not None:
            claims[_place(read.said.delivery)].append(read)
    for read in evidence.outcomes:
        outcome = read.said
        if outcome.status != "done" or outcome.delivery is None:
            continue
        for claim in claims[_place(outcome.delivery)]:
            effect = claim.said
            ours = (effect.worker, effect.attempt) == (outcome.worker, outcome.attempt)
            if not ours or claim.at > read.at:
                continue
            if ended.get((effect.effect_id, claim.message.offset), read.at) >= read.at:
                yield (
                    f"{outcome.task_id} was done at {read.place}, and what became of its effect "
                    f"{effect.effect_id} was not written before"
                )


def _claims(evidence: Evidence) -> Iterator[Read]:
    """Those that count."""
    logs: dict[int, EffectLog] = defaultdict(EffectLog)
    for read in evidence.effects:
        log, message = logs[read.message.partition], read.message
        before = log.standing(read.said.effect_id)
        log.learn((message,))
        after = log.standing(read.said.effect_id)
        if after == Standing("claimed", message.offset) != before:
            yield read


def _place(delivery: Delivery) -> Place:
    return delivery.topic, delivery.partition, delivery.offset
