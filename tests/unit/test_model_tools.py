"""Typed functions as tools: what a model is told of them, what it may do with them, and when it
is stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agents.context import Context
from agents.limits.iterations import Trace
from agents.mind.port import Request
from agents.mind.tools import CALLS_MAX, RESULT_CHARS_MAX, Toolbox, tool_of
from agents.services import WorkLimits
from agents.threads import Inline
from events.errors import DeclarationError, DependencyOpenError, HaltedError, TransientError
from schemas.outcome import Outcome
from tests.unit.scripted_model import Line, ScriptedModel, says, wants
from tests.unit.workbench import Answer, Ticket, Workbench

GOOD = '{"text": "it is on its way", "confidence": 0.9}'


class Period(BaseModel):
    first_day: int = Field(ge=1)
    last_day: int


def orders_of(
    customer: Annotated[str, Field(description="its number, like c-12")],
    period: Period | None = None,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """The orders of a customer, newest first."""
    return [{"order": f"{customer}/{n}", "period": period} for n in range(min(limit, 2))]


async def weather(city: str) -> str:
    """The weather of today."""
    return f"rain in {city}"


def fails(what: str) -> str:
    """Fails."""
    raise ValueError(f"no {what} today")


def talk(
    *script: Line, tools: Sequence[Callable[..., Any]] = (orders_of, weather), **limits: Any
) -> tuple[ScriptedModel, Outcome]:
    """An agent that runs the tools for a model that follows the script."""

    async def answer(ticket: Ticket, ctx: Context) -> Answer:
        return await ctx.model.run(Answer, ticket.body, tools=tools, system="You are brief.")

    model = ScriptedModel(*script)
    known = {"calls": ("model",), "tries_max": 1, **limits}
    return model, Workbench(answer, known, work=WorkLimits(), model=model).run_task()


def told(request: Request) -> list[Any]:
    """The results of tools that a request ends with."""
    results: list[Any] = []
    for turn in reversed(request.turns):
        if turn["role"] != "tool":
            break
        results.insert(0, turn["content"])
    return results


def kind_of(outcome: Outcome) -> tuple[str, str]:
    assert outcome.error
    return outcome.status, outcome.error.kind


def test_a_function_is_told_by_its_signature_and_docstring() -> None:
    about = tool_of(orders_of).spec["function"]
    assert about["name"] == "orders_of"
    assert about["description"] == "The orders of a customer, newest first."
    parameters = about["parameters"]
    assert parameters["required"] == ["customer"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["customer"]["description"] == "its number, like c-12"
    assert parameters["properties"]["limit"]["default"] == 10
    assert "first_day" in parameters["$defs"]["Period"]["properties"]


def test_a_model_calls_tools_and_then_answers() -> None:
    model, outcome = talk(
        wants(("orders_of", '{"customer": "c-1", "limit": 1}'), ("weather", '{"city": "Oslo"}')),
        says(GOOD),
    )
    assert outcome.output == {"text": "it is on its way", "confidence": 0.9}
    assert [tool["function"]["name"] for tool in model.requests[0].tools] == [
        "orders_of",
        "weather",
    ]
    assert told(model.requests[1]) == ['[{"order":"c-1/0","period":null}]', "rain in Oslo"]
    calling, first, second = model.requests[1].turns[-3:]
    assert [call["id"] for call in calling["tool_calls"]] == ["call_0", "call_1"]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("call_0", "call_1")


def test_arguments_arrive_as_their_types() -> None:
    seen: list[Period | None] = []

    def look(period: Period) -> str:
        seen.append(period)
        return "seen"

    talk(wants(("look", '{"period": {"first_day": "1", "last_day": 3}}')), says(GOOD), tools=[look])
    assert seen == [Period(first_day=1, last_day=3)]


def test_each_request_is_an_iteration_and_is_paid_for() -> None:
    _, outcome = talk(wants(("weather", '{"city": "Oslo"}')), says(GOOD))
    assert (outcome.usage.iterations, outcome.usage.calls, outcome.usage.tokens_in) == (2, 2, 40)


def test_an_answer_after_tools_is_repaired_like_any_other() -> None:
    model, outcome = talk(wants(("weather", '{"city": "Oslo"}')), says("{}"), says(GOOD))
    assert outcome.status == "done"
    assert "text: Field required" in model.requests[2].turns[-1]["content"]


def test_what_goes_wrong_in_a_tool_is_told_to_the_model() -> None:
    model, outcome = talk(wants(("fails", '{"what": "luck"}')), says(GOOD), tools=[fails])
    assert outcome.status == "done"
    assert told(model.requests[1]) == ['{"error": "ValueError: no luck today"}']


def test_a_result_that_json_cannot_hold_is_told_to_the_model() -> None:
    def thing() -> object:
        return object()

    model, outcome = talk(wants(("thing", "{}")), says(GOOD), tools=[thing])
    assert outcome.status == "done"
    assert "PydanticSerializationError" in told(model.requests[1])[0]


@pytest.mark.parametrize(
    ("call", "says_what"),
    [
        (("guess", "{}"), "there is no tool 'guess', only orders_of, weather"),
        (("weather", "{}"), "weather: city: Missing required argument"),
        (("weather", '{"city": "Oslo", "day": 1}'), "weather: day: Unexpected keyword argument"),
        (("weather", '{"city"'), "weather: the arguments: Invalid JSON"),
        (("weather", "null"), "weather: the arguments: Arguments must be"),
        (
            ("orders_of", '{"customer": "c", "period": {"first_day": 0, "last_day": 1}}'),
            "period.first_day: Input should be greater than or equal to 1",
        ),
    ],
    ids=["unknown", "missing", "unexpected", "no JSON", "null", "too small"],
)
def test_a_wrong_call_is_told_to_the_model(call: tuple[str, str], says_what: str) -> None:
    model, outcome = talk(wants(call), says(GOOD))
    assert outcome.status == "done"
    assert says_what in told(model.requests[1])[0]


def test_arguments_that_are_no_json_do_not_go_back_to_the_vendor() -> None:
    model, _ = talk(wants(("weather", '{"city"')), says(GOOD))
    [call] = model.requests[1].turns[-2]["tool_calls"]
    assert call["function"]["arguments"] == "{}"


def test_a_model_that_keeps_calling_wrongly_is_stopped() -> None:
    model, outcome = talk(*[wants(("guess", f'{{"n": {n}}}')) for n in range(9)])
    assert len(model.requests) == 3
    assert kind_of(outcome) == ("halted", "tool_misuse")
    assert any("there is no tool 'guess'" in line for line in outcome.trace)


def test_the_same_call_again_and_again_is_stopped_however_it_is_written() -> None:
    written = ['{"city": "Oslo"}', '{"city":"Oslo"}', '{ "city" : "Oslo" }', '{"city": "Oslo"}']
    model, outcome = talk(*[wants(("weather", each)) for each in written])
    assert len(model.requests) == 4
    assert kind_of(outcome) == ("halted", "tool_misuse")
    assert any("tool weather" in line for line in outcome.trace)


def test_the_same_tool_for_other_things_is_no_repetition() -> None:
    cities = [wants(("weather", json.dumps({"city": name}))) for name in "abcdef"]
    _, outcome = talk(*cities, says(GOOD))
    assert outcome.status == "done"


def test_a_model_that_never_answers_is_stopped_by_the_iterations() -> None:
    cities = [wants(("weather", json.dumps({"city": str(n)}))) for n in range(20)]
    model, outcome = talk(*cities, iterations_max=4)
    assert len(model.requests) == 4
    assert kind_of(outcome) == ("halted", "iterations")
    assert any("iteration 4" in line for line in outcome.trace)


def test_too_many_calls_at_once_are_not_begun() -> None:
    begun: list[int] = []

    def count(n: int) -> int:
        begun.append(n)
        return n

    many = wants(*[("count", f'{{"n": {n}}}') for n in range(CALLS_MAX + 1)])
    _, outcome = talk(many, tools=[count])
    assert (kind_of(outcome), begun) == (("halted", "tool_misuse"), [])


@pytest.mark.parametrize(
    ("error", "status"),
    [(DependencyOpenError("crm is down"), "deferred"), (HaltedError("enough"), "halted")],
)
def test_what_stops_an_attempt_stops_it_in_a_tool_too(error: Exception, status: str) -> None:
    def broken() -> str:
        raise error

    model, outcome = talk(wants(("broken", "{}")), tools=[broken])
    assert (len(model.requests), outcome.status) == (1, status)


def test_a_transient_error_of_a_tool_is_for_the_model_to_judge() -> None:
    def busy() -> str:
        raise TransientError("busy", retry_after_s=3)

    model, outcome = talk(wants(("busy", "{}")), says(GOOD), tools=[busy])
    assert outcome.status == "done"
    assert told(model.requests[1]) == ['{"error": "TransientError: busy"}']


def test_a_tool_that_hangs_is_ended_with_its_attempt() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def answer(ticket: Ticket, ctx: Context) -> Answer:
        return await ctx.model.run(Answer, ticket.body, tools=[hangs])

    model = ScriptedModel(wants(("hangs", "{}")))
    bench = Workbench(answer, {"calls": ("model",), "tries_max": 1}, model=model)
    assert kind_of(bench.run_task(seconds=6, timeout_s=5)) == ("retry", "timeout")


def test_a_long_result_is_cut_and_says_so() -> None:
    def long() -> str:
        return "x" * (RESULT_CHARS_MAX + 1)

    model, _ = talk(wants(("long", "{}")), says(GOOD), tools=[long])
    [result] = told(model.requests[1])
    assert len(result) < RESULT_CHARS_MAX + 50
    assert result.endswith("… (16001 characters, cut)")


def test_calls_that_nobody_offered_are_refused() -> None:
    model, outcome = talk(*[wants(("weather", f'{{"n": {n}}}')) for n in range(9)], tools=())
    assert len(model.requests) == 3
    assert kind_of(outcome) == ("halted", "tool_misuse")


def untyped(x) -> None:  # type: ignore[no-untyped-def]
    """Says not what it takes."""


def variadic(*x: int) -> None:
    """Takes any number."""


def positional(x: int, /) -> None:
    """Takes no name."""


def unknown(x: Nowhere) -> None:  # type: ignore[name-defined] # noqa: F821
    """Takes what is not there."""


def unfit(x: Callable[[], asyncio.Task[int]] | asyncio.Task[int]) -> None:
    """Takes what JSON cannot hold."""


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (untyped, "'x' has no annotation"),
        (variadic, "'x' takes any number of values"),
        (positional, "'x' is positional-only"),
        (unknown, "'Nowhere' is not defined"),
        (unfit, "tool 'unfit'"),
        (lambda: 1, "no name that a model can call"),
    ],
)
def test_a_function_that_no_model_can_call_is_refused_with_the_place(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(DeclarationError, match="tool") as caught:
        tool_of(function)
    assert problem in str(caught.value)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DeclarationError, match="two tools have one name: weather, weather"):
        Toolbox([weather, weather], Inline(), Trace(), 2)


@given(st.from_type(int), st.text())
def test_any_arguments_survive_the_way_through_json(number: int, text: str) -> None:
    def take(number: int, text: str) -> None:
        """Takes both."""

    written = json.dumps({"number": number, "text": text})
    assert tool_of(take).arguments.validate_json(written) == (
        (),
        {"number": number, "text": text},
    )
