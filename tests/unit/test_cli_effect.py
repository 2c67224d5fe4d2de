"""`caseworks effect`: what people see of unknown calls, and what they may say of them."""

from __future__ import annotations

from typing import Any

import pytest

from agents.effects.states import looked_up
from events.broker import Record
from events.envelope import record_of
from events.partitioner import partition_of
from schemas.base import instant
from schemas.effect import Effect
from tests.unit.command_line import COUNTS, NOW, TOPICS, CommandLine

CASE = "8d4b7a0e-0000-4000-8000-000000000001"
ID = f"{CASE}:refund/pay"


def said(state: str, effect_id: str = ID, **fields: Any) -> Record:
    effect = Effect.model_validate(
        {
            "effect_id": effect_id,
            "case_id": CASE,
            "task_id": f"{CASE}:refund",
            "key": "pay",
            "state": state,
            "at": instant(NOW - 60),
            "worker": "cw-worker-0",
            "attempt": 1,
            **fields,
        }
    )
    return record_of(
        effect,
        Effect.ce_type,
        topic=TOPICS.effects,
        key=effect_id,
        ce_id="x",
        source="t",
        now=NOW,
        partition=partition_of(CASE.encode(), COUNTS.inbox),
    )


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    return made


def test_only_what_is_open_is_listed(command: CommandLine) -> None:
    other = f"{CASE}:letter/send"
    command.produce(
        said("pending", until=instant(NOW - 30)),
        said("unknown", claim=0, error="TimeoutError: no answer"),
        said("pending", other),
        said("done", other, claim=2),
    )
    ran = command("effect", "list")

    assert ran.code == 0, ran
    assert "1 of 1 are over" in ran.out
    [line] = command("effect", "list", "--json").lines
    assert (line["effect_id"], line["running"]) == (ID, False)


def test_a_person_says_that_it_happened_and_the_ledger_holds_the_result(
    command: CommandLine,
) -> None:
    command.produce(said("pending", until=instant(NOW - 30)))
    ran = command("effect", "resolve", ID, "--happened", '{"receipt": 7}', "--by", "ann")

    assert ran.code == 0, ran
    assert f"caseworks dlq replay --case {CASE}" in ran.out
    messages = command.records(TOPICS.effects)
    assert looked_up(messages, ID).state == "done"
    effect = Effect.from_json(messages[-1].value)
    assert (effect.result, effect.by, effect.claim) == ({"receipt": 7}, "ann", 0)
    assert command("effect", "list", "--json").lines == []


def test_a_person_says_that_it_did_not_and_it_is_free_again(command: CommandLine) -> None:
    command.produce(said("pending", until=instant(NOW - 30)))
    ran = command("effect", "resolve", ID, "--did-not-happen", "--why", "asked the bank")

    assert ran.code == 0, ran
    messages = command.records(TOPICS.effects)
    assert looked_up(messages, ID).state == "free"
    assert Effect.from_json(messages[-1].value).why == "asked the bank"


def test_nothing_is_said_of_a_call_that_may_be_under_way(command: CommandLine) -> None:
    command.produce(said("pending", until=instant(NOW + 30)))
    ran = command("effect", "resolve", ID, "--did-not-happen")

    assert ran.code != 0
    assert "may be under way" in ran.err
    assert len(command.records(TOPICS.effects)) == 1


@pytest.mark.parametrize("told", [[], ["--did-not-happen", "--happened", "1"]])
def test_one_of_both_must_be_said(command: CommandLine, told: list[str]) -> None:
    assert command("effect", "resolve", ID, *told).code == 2


def test_an_effect_of_which_nothing_is_open_is_refused(command: CommandLine) -> None:
    ran = command("effect", "resolve", ID, "--did-not-happen")

    assert ran.code != 0
    assert "nothing is open" in ran.err
