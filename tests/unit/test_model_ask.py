"""A typed answer from a model: repairs, limits and what they cost; the model is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.context import Context
from agents.mind.errors import AnswerLostError, ModelError
from agents.mind.port import NO_MODEL, Reply, Request, tokens_in_of
from agents.mind.turns import read
from agents.services import WorkLimits
from events.errors import TransientError
from schemas.outcome import Outcome
from schemas.usage import Budget, Usage
from tests.unit.scripted_model import ScriptedModel, says
from tests.unit.workbench import Answer, Ticket, Workbench

GOOD = '{"text": "in the drawer", "confidence": 0.9}'
BAD = '{"text": "in the drawer", "confidence": "high"}'
TASK_BUDGET = Budget(tokens=10_000, usd=Decimal("0.01"), calls=5)


async def answer(ticket: Ticket, ctx: Context) -> Answer:
    return await ctx.model.ask(Answer, ticket.body, system="You are brief.")


async def text(ticket: Ticket, ctx: Context) -> str:
    return await ctx.model.ask(str, ticket.body)


def bench(
    model: ScriptedModel,
    function: Callable[..., Coroutine[Any, Any, Any]] = answer,
    repairs_max: int = 2,
    **limits: Any,
) -> Workbench:
    known = {"calls": ("model",), "tries_max": 1, **limits}
    return Workbench(function, known, work=WorkLimits(repairs_max=repairs_max), model=model)


def asked(*script: Reply | Exception, **limits: Any) -> tuple[ScriptedModel, Outcome]:
    model = ScriptedModel(*script)
    return model, bench(model, **limits).run_task()


@pytest.mark.parametrize(
    "said",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nI hope this helps.",
        f"Here it is:\n\n```JSON\n{GOOD}\n```",
        f"The answer is {GOOD}.",
    ],
)
def test_an_answer_is_read_however_a_model_wraps_it(said: str) -> None:
    _, outcome = asked(says(said))
    assert outcome.status == "done"
    assert outcome.output == {"text": "in the drawer", "confidence": 0.9}


@given(st.text())
def test_any_text_survives_the_way_through_json(said: str) -> None:
    wanted = Answer(text=said)
    for wrapped in (wanted.model_dump_json(), f"```json\n{wanted.model_dump_json()}\n```"):
        assert read(Answer, Reply(wrapped, 1, 1)) == wanted


def test_a_fence_inside_of_an_answer_is_a_part_of_it() -> None:
    wanted = Answer(text="run\n```\nmake\n```\nand look")
    for wrapped in (wanted.model_dump_json(), f"```json\n{wanted.model_dump_json()}\n```"):
        assert read(Answer, Reply(wrapped, 1, 1)) == wanted


def test_an_answer_may_be_a_list() -> None:
    assert read(list[Answer], Reply(f"[{GOOD}]", 1, 1)) == [Answer.model_validate_json(GOOD)]


def test_a_plain_answer_is_taken_as_it_is() -> None:
    model, outcome = asked(says("```\nany text\n```"), function=text)
    assert outcome.output == "```\nany text\n```"
    assert model.requests[0].schema is None


def test_the_model_is_told_the_schema_and_the_question() -> None:
    model, _ = asked(says(GOOD))
    system, question = model.requests[0].turns
    assert system["content"].startswith("You are brief.")
    assert '"confidence"' in system["content"]
    assert question == {"role": "user", "content": "where is my card"}
    assert model.requests[0].schema == Answer.model_json_schema()


def test_a_wrong_answer_is_shown_to_the_model_with_the_reason() -> None:
    model, outcome = asked(says(BAD), says(GOOD))
    assert outcome.status == "done"
    *_, wrong, told = model.requests[1].turns
    assert wrong == {"role": "assistant", "content": BAD}
    assert told["role"] == "user"
    assert "confidence: Input should be a valid number" in told["content"]


def test_an_answer_that_stays_wrong_fails_after_the_repairs() -> None:
    model, outcome = asked(*[says(BAD)] * 3)
    assert len(model.requests) == 3
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "model_answer")
    assert outcome.error
    assert "confidence: Input should be a valid number" in outcome.error.message


def test_no_repair_is_made_when_none_is_allowed() -> None:
    model, outcome = asked(says(BAD), repairs_max=0)
    assert (len(model.requests), outcome.status) == (1, "failed")


@pytest.mark.parametrize("said", ["", "no", "{", '{"text": "x"', "[]", "null"])
def test_an_empty_or_truncated_answer_is_no_answer(said: str) -> None:
    model, outcome = asked(says(said), says(GOOD))
    assert (len(model.requests), outcome.status) == (2, "done")


def test_an_answer_that_was_cut_is_asked_for_again_shorter() -> None:
    model, outcome = asked(says('{"text": "in the', cut=True), says(GOOD))
    assert outcome.status == "done"
    assert "it was cut off after 10 tokens" in model.requests[1].turns[-1]["content"]


def test_a_plain_text_that_was_cut_is_never_passed_on_as_whole() -> None:
    _, outcome = asked(*[says("in the", cut=True)] * 3, function=text)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "model_answer")


def test_what_was_spent_stands_in_the_outcome_also_when_nothing_fits() -> None:
    _, outcome = asked(*[says(BAD)] * 3)
    spent = Usage(tokens_in=60, tokens_out=30, usd=3 * Decimal("0.00004"), calls=3)
    assert outcome.usage == spent


def test_everything_that_is_sent_counts() -> None:
    plain = Request(({"role": "user", "content": "hello"},), 10, 1.0)
    long = "x" * 600
    calling = {"role": "assistant", "content": None, "tool_calls": [{"function": long}]}
    for more in (
        replace(plain, schema={"title": long}),
        replace(plain, tools=({"description": long},)),
        replace(plain, turns=(*plain.turns, calling)),
        replace(plain, turns=(*plain.turns, {"role": "tool", "content": long})),
    ):
        assert tokens_in_of(more) >= tokens_in_of(plain) + 300


def test_a_prompt_that_does_not_fit_the_tokens_left_is_not_sent() -> None:
    model, outcome = asked(says(GOOD), budget=Budget(tokens=100))
    assert model.requests == []
    assert (outcome.status, outcome.error and outcome.error.kind) == ("halted", "budget")
    assert outcome.usage.calls == 0


def test_the_answer_may_have_no_more_tokens_than_are_left() -> None:
    model, _ = asked(says(GOOD), budget=Budget(tokens=1000))
    request = model.requests[0]
    assert request.tokens_max + tokens_in_of(request) == 1000


def test_a_call_that_could_cost_more_than_is_left_is_not_made() -> None:
    model, outcome = asked(says(GOOD), budget=Budget(usd=Decimal("0.0001")))
    assert (model.requests, outcome.status) == ([], "halted")


def test_a_price_that_nobody_knows_does_not_fit_under_a_limit_in_money() -> None:
    model = ScriptedModel(says(GOOD))
    model.usd_per_token = None
    outcome = bench(model, budget=Budget(usd=Decimal(1000))).run_task()
    assert (model.requests, outcome.status) == ([], "halted")
    assert outcome.error
    assert "CASEWORKS_MODEL_USD_PER_MTOKEN_IN" in outcome.error.message


def test_repairs_count_as_calls() -> None:
    model, outcome = asked(*[says(BAD)] * 3, budget=Budget(calls=2))
    assert len(model.requests) == 2
    assert (outcome.status, outcome.error and outcome.error.kind) == ("halted", "budget")
    assert any("does not fit" in line for line in outcome.trace)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (TransientError("busy", retry_after_s=7), "retry", "transient"),
        (AnswerLostError("gone"), "retry", "model_answer_lost"),
        (ModelError("refused"), "failed", "model"),
    ],
)
def test_an_error_of_the_model_ends_the_attempt_as_its_kind_says(
    error: Exception, status: str, kind: str
) -> None:
    _, outcome = asked(error)
    assert (outcome.status, outcome.error and outcome.error.kind) == (status, kind)


def test_what_a_vendor_asks_to_wait_reaches_the_coordinator() -> None:
    _, outcome = asked(TransientError("busy", retry_after_s=7))
    assert outcome.error
    assert outcome.error.retry_after_s == 7


def test_a_refused_call_costs_nothing_and_a_lost_answer_its_worst_case() -> None:
    _, refused = asked(ModelError("refused"))
    model, lost = asked(AnswerLostError("gone"))
    request = model.requests[0]
    assert refused.usage == Usage(calls=1)
    assert lost.usage.tokens_in == tokens_in_of(request) + request.tokens_max
    assert lost.usage.usd > 0


def test_a_call_that_takes_too_long_is_given_up_and_paid_for() -> None:
    model = ScriptedModel(None)
    outcome = bench(model, timeout_s=5).run_task(seconds=10, timeout_s=5)
    assert (outcome.status, outcome.error and outcome.error.kind) == ("retry", "timeout")
    assert outcome.usage.tokens_in > 0


def test_a_request_has_the_time_that_its_attempt_has_left() -> None:
    async def late(ticket: Ticket, ctx: Context) -> Answer:
        await asyncio.sleep(4)
        return await ctx.model.ask(Answer, ticket.body)

    model = ScriptedModel(says(GOOD))
    bench(model, late).run_task(seconds=5, timeout_s=10)
    assert model.requests[0].timeout_s == pytest.approx(6)


def test_without_a_model_asking_says_what_to_set() -> None:
    outcome = Workbench(answer, {"calls": ("model",)}, model=NO_MODEL).run_task()
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "model_unavailable")
    assert outcome.error
    assert "CASEWORKS_MODEL" in outcome.error.message


def test_calls_tokens_and_money_are_counted() -> None:
    work = bench(ScriptedModel(says(BAD), says(GOOD)))
    work.run_task()

    def told(name: str, **labels: str) -> float | None:
        return work.telemetry.value(f"caseworks_model_{name}_total", model="scripted", **labels)

    assert told("calls", status="ok") == 2
    assert told("calls", status="invalid") == 1
    assert (told("tokens", direction="in"), told("tokens", direction="out")) == (40, 20)
    assert told("usd") == pytest.approx(0.00008)


def test_an_image_is_sent_with_its_type_and_counted() -> None:
    async def look(ticket: Ticket, ctx: Context) -> str:
        return await ctx.model.ask(str, "what is it?", images=[b"\xff\xd8\xff\xe0", "https://x/y"])

    model = ScriptedModel(says("a cat"))
    bench(model, look).run_task()
    words, jpeg, linked = model.requests[0].turns[0]["content"]
    assert words == {"type": "text", "text": "what is it?"}
    assert jpeg["image_url"]["url"] == "data:image/jpeg;base64,/9j/4A=="
    assert linked["image_url"]["url"] == "https://x/y"
    assert tokens_in_of(model.requests[0]) > 3000


def test_an_agent_that_does_not_declare_the_model_is_told_how() -> None:
    outcome = Workbench(answer, model=ScriptedModel(says(GOOD))).run_task()
    assert outcome.status == "failed"
    assert outcome.error
    assert "calls=['model']" in outcome.error.message


@given(st.integers(0, 4000), st.lists(st.sampled_from([GOOD, BAD]), min_size=3, max_size=3))
def test_an_honest_model_never_costs_more_than_the_budget(tokens: int, said: list[str]) -> None:
    def reply(request: Request, text: str) -> Reply:
        return Reply(text, tokens_in_of(request), request.tokens_max, Decimal(0))

    model = ScriptedModel(*[lambda request, text=text: reply(request, text) for text in said])
    outcome = bench(model, budget=Budget(tokens=tokens)).run_task()
    assert outcome.usage.tokens_in + outcome.usage.tokens_out <= tokens
