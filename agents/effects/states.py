"""The ledger of effects as its log tells it: a pure fold over one partition.

Theory of operation
-------------------
Every worker reads the same records in the same order, so all of them agree on whose claim came
first. A claim counts only if the effect is free at its place in the log; others are passed over.
What ends a claim names it by its offset, so that what a slow process says of an old claim does
not touch a new one. That something *happened* stays true whoever says it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from hashlib import blake2b
from typing import Literal, NamedTuple

from pydantic import ValidationError

from events.broker import Message
from schemas.effect import EFFECT_VERSION, Effect, EffectState

State = Literal["free", "claimed", "over", "done"]
"""`claimed`: it may be happening now. `over`: nobody is at it any more, and nobody knows."""

MOVES: Mapping[State, Mapping[EffectState, State]] = {
    "free": {"pending": "claimed", "done": "done"},
    "claimed": {"unknown": "over", "failed": "free", "done": "done"},
    "over": {"failed": "free", "done": "done"},
    "done": {},
}
"""What is not listed changes nothing."""
ENDS_A_CLAIM: frozenset[EffectState] = frozenset(("unknown", "failed"))
KNOWN_MAX = 50_000
_KEPT: tuple[State, ...] = ("claimed", "over", "done")


class Standing(NamedTuple):
    """An effect's state, and the offset of its claim, or of its result when it is done."""

    state: State
    offset: int


FREE = Standing("free", -1)


class Verdict(NamedTuple):
    """What became of a claim."""

    nonce: str
    offset: int
    """Where it stands."""
    standing: Standing
    """Of its effect behind it."""

    @property
    def won(self) -> bool:
        """Whether it was the first."""
        return self.standing == Standing("claimed", self.offset)


def read_effect(message: Message) -> Effect | None:
    """What a record says; `None` when it cannot be read or is of a later version."""
    try:
        effect = Effect.from_json(message.value or b"")
    except ValidationError:
        return None
    return effect if effect.v <= EFFECT_VERSION else None


class EffectLog:
    """What is known of one partition; about 130 bytes for each effect that is not free.

    Args:
        known_max: So many effects are remembered. Of older ones `standing` says nothing, and they
            must be looked up in the log.
    """

    def __init__(self, known_max: int = KNOWN_MAX) -> None:
        self.position = 0
        """The next offset to read."""
        self.unread = 0
        """Records that could not be read."""
        self._known: dict[bytes, int] = {}
        self._known_max = known_max
        self._forgot = False

    def __len__(self) -> int:
        """How many effects are remembered."""
        return len(self._known)

    def standing(self, effect_id: str) -> Standing | None:
        """An effect as of `position`; `None`: it may have been forgotten."""
        code = self._known.get(_digest(effect_id.encode()))
        if code is None:
            return None if self._forgot else FREE
        return Standing(_KEPT[code & 3], code >> 2)

    def learn(self, messages: Iterable[Message], wanted: Container[str] = ()) -> list[Verdict]:
        """Take records over, in order; returns the verdicts on claims whose nonce is wanted."""
        verdicts = []
        for message in messages:
            self.position = message.offset + 1
            standing = self._learn(message)
            nonce = message.header("ce_id")
            if nonce is not None and nonce in wanted:
                verdicts.append(Verdict(nonce, message.offset, standing))
        return verdicts

    def _learn(self, message: Message) -> Standing:
        name = _digest(message.key or b"")
        code = self._known.get(name)
        before = FREE if code is None else Standing(_KEPT[code & 3], code >> 2)
        effect = read_effect(message)
        if effect is None:
            self.unread += 1
            # It may have been a claim: a person must look at it.
            after = Standing("over", message.offset) if before == FREE else before
        else:
            after = _moved(before, effect, message.offset)
        if after != before:
            self._remember(name, after)
        return after

    def _remember(self, name: bytes, standing: Standing) -> None:
        if standing.state == "free":
            del self._known[name]
            return
        self._known[name] = standing.offset << 2 | _KEPT.index(standing.state)
        if len(self._known) > self._known_max:
            del self._known[next(iter(self._known))]
            self._forgot = True


def _moved(before: Standing, effect: Effect, offset: int) -> Standing:
    if effect.state in ENDS_A_CLAIM and effect.claim != before.offset:
        return before
    state = MOVES[before.state].get(effect.state)
    match state:
        case None:
            return before
        case "free":
            return FREE
        case "over":
            return Standing(state, before.offset)
        case "claimed" | "done":
            return Standing(state, offset)


def looked_up(messages: Iterable[Message], effect_id: str) -> Standing:
    """An effect by the whole of its partition's log."""
    key = effect_id.encode()
    log = EffectLog()
    log.learn(message for message in messages if message.key == key)
    return log.standing(effect_id) or FREE


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=16).digest()
