"""The ledger of effects as a fold over its log."""

from __future__ import annotations

from typing import Any

import pytest

from agents.effects.states import (
    FREE,
    MOVES,
    EffectLog,
    Standing,
    Verdict,
    looked_up,
)
from events.broker import Message
from schemas.base import instant
from schemas.effect import EFFECT_VERSION, Effect, effect_id_of

ID = "c-1:refund/pay"


def said(offset: int, state: str, claim: int | None = None, **fields: Any) -> Message:
    effect = Effect.model_validate(
        {
            "effect_id": ID,
            "case_id": "c-1",
            "task_id": "c-1:refund",
            "key": "pay",
            "state": state,
            "claim": claim,
            "at": instant(1_800_000_000.0),
            **fields,
        }
    )
    nonce = ("ce_id", f"n{offset}".encode())
    return Message(
        "cw.effects", 0, offset, 0, effect.effect_id.encode(), effect.to_json(), (nonce,)
    )


@pytest.mark.parametrize(
    ("log", "standing"),
    [
        ([], FREE),
        ([said(3, "pending")], Standing("claimed", 3)),
        ([said(3, "pending"), said(5, "pending")], Standing("claimed", 3)),
        ([said(3, "pending"), said(5, "unknown", 3)], Standing("over", 3)),
        ([said(3, "pending"), said(5, "failed", 3)], FREE),
        ([said(3, "pending"), said(5, "done", 3)], Standing("done", 5)),
        ([said(3, "pending"), said(4, "unknown", 3), said(5, "failed", 3)], FREE),
        ([said(3, "pending"), said(5, "done", 3), said(6, "pending")], Standing("done", 5)),
        ([said(3, "pending"), said(5, "done", 3), said(6, "failed", 3)], Standing("done", 5)),
        ([said(5, "done", 3)], Standing("done", 5)),
    ],
)
def test_an_effect_stands_where_its_records_leave_it(
    log: list[Message], standing: Standing
) -> None:
    effects = EffectLog()
    effects.learn(log)

    assert effects.standing(ID) == looked_up(log, ID) == standing


def test_what_is_said_of_an_old_claim_does_not_touch_a_new_one() -> None:
    effects = EffectLog()
    effects.learn([said(1, "pending"), said(2, "failed", 1), said(3, "pending")])
    effects.learn([said(4, "failed", 1), said(5, "unknown", 1)])

    assert effects.standing(ID) == Standing("claimed", 3)


def test_that_it_happened_stays_true_even_if_an_old_claimant_says_it() -> None:
    effects = EffectLog()
    effects.learn([said(1, "pending"), said(2, "failed", 1), said(3, "pending")])
    effects.learn([said(4, "done", 1)])

    assert effects.standing(ID) == Standing("done", 4)


def test_only_the_first_claim_is_won() -> None:
    effects = EffectLog()
    verdicts = effects.learn([said(1, "pending"), said(2, "pending")], {"n1", "n2"})

    assert verdicts == [
        Verdict("n1", 1, Standing("claimed", 1)),
        Verdict("n2", 2, Standing("claimed", 1)),
    ]
    assert [verdict.won for verdict in verdicts] == [True, False]


def test_a_record_of_a_later_version_or_none_at_all_is_for_a_person() -> None:
    for strange in (
        said(4, "pending", v=EFFECT_VERSION + 1),
        Message("cw.effects", 0, 4, 0, ID.encode(), None, ()),
        Message("cw.effects", 0, 4, 0, ID.encode(), b"\xff", ()),
    ):
        effects = EffectLog()
        effects.learn([strange])
        assert effects.standing(ID) == Standing("over", 4)
        assert effects.unread == 1
        effects.learn([said(5, "failed", 4)])
        assert effects.standing(ID) == FREE


def test_what_was_forgotten_is_not_taken_for_free() -> None:
    log = [said(n, "pending", effect_id=f"c-{n}:refund/pay") for n in range(5)]
    effects = EffectLog(known_max=3)
    effects.learn(log)

    assert len(effects) == 3
    assert effects.standing("c-0:refund/pay") is None
    assert effects.standing("c-4:refund/pay") == Standing("claimed", 4)
    assert looked_up(log, "c-0:refund/pay") == Standing("claimed", 0)


def test_every_state_has_its_row_and_nothing_leaves_done() -> None:
    assert set(MOVES) == {"free", "claimed", "over", "done"}
    assert MOVES["done"] == {}


@pytest.mark.parametrize(
    ("task_id", "effect_id"),
    [
        ("c-1:refund", "c-1:refund/pay"),
        ("c-1:refund#2", "c-1:refund/pay"),
        ("c-1:refund:17@3#2", "c-1:refund:17@3/pay"),
        ("c-1:refund~undo#1", "c-1:refund~undo/pay"),
    ],
)
def test_an_effect_is_the_same_in_a_replay(task_id: str, effect_id: str) -> None:
    assert effect_id_of(task_id, "pay") == effect_id
