"""The model port over litellm's real HTTP path, against a server that says what the test wants."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import Any, NoReturn

import pytest
from pydantic import BaseModel

from agents.context import Context
from agents.limits.dependencies import Dependencies
from agents.mind.errors import ModelUnavailable
from agents.mind.model import LitellmModel, load_litellm, make_model
from agents.mind.port import (
    BYTES_PER_TOKEN,
    NO_MODEL,
    Reply,
    ToolCall,
    tokens_in_of,
    worst_case,
)
from agents.services import Services
from agents.threads import Inline
from events.settings import Settings
from schemas.agent import AgentSpec
from schemas.lean import read_task
from schemas.usage import Usage
from tests.model_server import ModelServer, calls, refuses, says, sends
from tests.unit.litellm_calls import MARKS, MODEL, asked, failed, request, using
from tests.unit.workbench import Recorder, a_task

pytestmark = MARKS

SCHEMA = {
    "type": "object",
    "properties": {"intent": {"type": "string"}},
    "required": ["intent"],
    "additionalProperties": False,
}


class Forecast(BaseModel):
    rain: bool


@pytest.fixture(autouse=True)
def key_of_the_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-no-use")


def test_a_reply_has_text_tokens_and_price() -> None:
    reply = asked(says("hi there", tokens_in=1000, tokens_out=100))
    assert reply == Reply("hi there", 1000, 100, Decimal("0.000210000"))


def test_a_request_is_what_the_server_gets() -> None:
    with ModelServer(says("hi")) as server:
        using(server, lambda model: model.complete(request("bonjour", tokens_max=7)))
    assert server.requests == [
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "bonjour"}],
            "max_tokens": 7,
        }
    ]


def test_a_schema_goes_where_the_model_takes_one() -> None:
    with ModelServer(says("{}")) as server:
        using(server, lambda model: model.complete(request(schema=SCHEMA)))
    sent = server.requests[0]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", SCHEMA)


@pytest.mark.parametrize(
    ("settings", "schema"),
    [
        ({"model": "openai/my-own", "model_price_unknown_ok": True}, SCHEMA),
        ({}, {"type": "array", "items": {"type": "string"}}),
    ],
    ids=["a model without", "an answer that is no object"],
)
def test_a_schema_is_kept_from_those_who_would_refuse_it(
    settings: dict[str, Any], schema: dict[str, Any]
) -> None:
    with ModelServer(says("[]")) as server:
        using(server, lambda model: model.complete(request(schema=schema)), **settings)
    assert "response_format" not in server.requests[0]


def test_tools_are_offered_and_their_calls_come_back() -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
    with ModelServer(calls(("look_up", '{"intent": "x"}'), ("look_up", "{"))) as server:
        reply = using(server, lambda model: model.complete(request(tools=(tool,), schema=SCHEMA)))
    assert server.requests[0]["tools"] == [tool]
    assert "response_format" not in server.requests[0]
    assert reply.text == ""
    assert reply.calls == (
        ToolCall("call_0", "look_up", '{"intent": "x"}'),
        ToolCall("call_1", "look_up", "{"),
    )


def test_a_text_that_reached_a_limit_says_so() -> None:
    assert asked(says("and then", finish="length")).cut
    assert not asked(says("the end")).cut


def test_an_answer_is_cut_at_its_bytes() -> None:
    reply = asked(says("é" * 1_000_000), model_answer_bytes_max=1001)
    assert reply == Reply("é" * 500, 20, 10, Decimal("0.000009000"), cut=True)


def test_no_text_is_an_empty_one() -> None:
    assert asked(says(None)).text == asked(says("")).text == ""


def test_half_a_surrogate_pair_does_not_travel_on() -> None:
    assert asked(says("a\ud800b")).text == "a?b"


def test_tokens_that_nobody_tells_are_estimated() -> None:
    body = json.loads(says("x" * 100).body)
    del body["usage"]
    reply = asked(sends(json.dumps(body).encode()))
    assert reply.tokens_in == tokens_in_of(request())
    assert reply.tokens_out == 100 // BYTES_PER_TOKEN
    assert reply.usd


def test_tokens_below_nothing_are_not_believed() -> None:
    reply = asked(says("x", tokens_in=-5, tokens_out=-7))
    assert reply.tokens_in > 0
    assert reply.tokens_out == 0


def test_a_model_whose_price_nobody_knows_is_not_asked() -> None:
    with ModelServer(says("hi")) as server, pytest.raises(ModelUnavailable) as caught:
        using(server, lambda model: model.complete(request()), model="openai/my-own")
    assert server.requests == []
    assert "CASEWORKS_MODEL_USD_PER_MTOKEN_IN" in caught.value.hint


def test_a_model_whose_price_nobody_knows_is_asked_when_told_so() -> None:
    reply = asked(says("hi"), model="openai/my-own", model_price_unknown_ok=True)
    assert (reply.text, reply.usd) == ("hi", None)


@pytest.mark.parametrize(
    ("usd_in", "usd_out", "usd"), [(2, 8, "0.002800000"), (0, 0, "0"), (2, None, "0.002000000")]
)
def test_a_price_in_the_settings_is_the_price(
    usd_in: int | None, usd_out: int | None, usd: str
) -> None:
    reply = asked(
        says("hi", tokens_in=1000, tokens_out=100),
        model_usd_per_mtoken_in=usd_in,
        model_usd_per_mtoken_out=usd_out,
    )
    assert reply.usd == Decimal(usd)


def test_an_agent_uses_tools_and_is_corrected_over_http() -> None:
    async def weather(city: str) -> str:
        """The weather of today."""
        return f"rain in {city}"

    async def work(model: LitellmModel) -> tuple[Forecast, Usage]:
        clock = asyncio.get_running_loop().time
        services = Services(Recorder(), time.time, Dependencies(clock), Inline(), model=model)
        spec = AgentSpec(name="answer", calls=("model",))
        context = Context(
            read_task(a_task().to_json()), spec, services, clock=clock, run_until=clock() + 10
        )
        said = await context.model.run(Forecast, "Will it rain in Oslo?", tools=[weather])
        return said, context.usage

    script = calls(("weather", '{"city": "Oslo"}')), says('{"rain": "?"}'), says('{"rain": true}')
    with ModelServer(*script) as server:
        said, usage = using(server, work)
    assert said == Forecast(rain=True)
    usd = 3 * Decimal("0.000009")
    assert usage == Usage(tokens_in=60, tokens_out=30, usd=usd, calls=3, iterations=3)
    assert server.requests[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_0",
        "content": "rain in Oslo",
    }
    assert "rain: Input should be a valid boolean" in server.requests[2]["messages"][-1]["content"]


def test_a_model_closes_its_connections_and_can_be_asked_again() -> None:
    async def twice(model: LitellmModel) -> list[str]:
        first = await model.complete(request())
        await model.aclose()
        return [first.text, (await model.complete(request())).text]

    with ModelServer(says("one"), says("two")) as server:
        assert using(server, twice) == ["one", "two"]


def test_calls_of_different_patience_share_their_connections() -> None:
    async def thrice(model: LitellmModel) -> None:
        for timeout_s in (5.0, 6.0, 7.0):
            await model.complete(request(timeout_s=timeout_s))

    with ModelServer(*[says("x")] * 3) as server:
        using(server, thrice)
        assert server.connections == 1


def test_calls_at_once_are_all_answered() -> None:
    async def at_once(model: LitellmModel) -> list[str]:
        replies = await asyncio.gather(*[model.complete(request()) for _ in range(8)])
        return [reply.text for reply in replies]

    with ModelServer(*[says("x")] * 8) as server:
        assert using(server, at_once) == ["x"] * 8


def test_litellm_says_nothing_on_its_own(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    failed(refuses(500))
    failed(refuses(401))
    asked(says("hi"))
    assert logging.getLogger("LiteLLM").handlers == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_without_litellm_asking_says_what_to_install() -> None:
    def missing() -> NoReturn:
        raise ImportError("No module named 'litellm'")

    model = LitellmModel(Settings(model=MODEL), load=missing)
    with pytest.raises(ModelUnavailable, match="No module named 'litellm'") as caught:
        asyncio.run(model.complete(request()))
    assert "caseworks[model]" in caught.value.hint


def test_the_event_loop_goes_on_while_litellm_is_imported_once() -> None:
    beat, went_on = threading.Event(), []

    def slow() -> Any:
        went_on.append(beat.wait(5))
        return load_litellm()

    async def run() -> None:
        model = LitellmModel(Settings(model=MODEL), load=slow)
        preparing = [asyncio.create_task(model.prepare()) for _ in range(3)]
        await asyncio.sleep(0)  # all three have begun
        beat.set()
        await asyncio.gather(*preparing)

    asyncio.run(run())
    assert went_on == [True]


def test_litellm_is_imported_when_a_model_is_asked_and_asks_nobody_for_prices() -> None:
    code = (
        "import sys, asyncio, agents.worker\n"
        "from agents.mind.model import make_model\n"
        "from events.settings import Settings\n"
        f"model = make_model(Settings(model={MODEL!r}))\n"
        "assert 'litellm' not in sys.modules\n"
        "asyncio.run(model.prepare())\n"
        "assert 'litellm' in sys.modules\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        env = {**os.environ, "HTTPS_PROXY": url, "https_proxy": url}
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=env)
        with pytest.raises(BlockingIOError):  # nobody connected
            proxy.accept()


def test_no_name_is_no_model() -> None:
    assert make_model(Settings(model="")) is NO_MODEL


PROSE = {
    "English": "I would like to know why my card payment was declined this morning. " * 20,
    "German": "Ich möchte wissen, weshalb meine Überweisung heute abgelehnt wurde. " * 20,
    "Chinese": "我想知道为什么我的银行卡付款被拒绝了 请帮助我解决这个问题。" * 20,
    "JSON": json.dumps([{"id": n, "price": n / 7, "name": f"part {n}"} for n in range(60)]),
    "code": "def f(x: int) -> str:\n    return f'{x:>8}' if x else ''\n" * 20,
}


@pytest.mark.parametrize("kind", PROSE)
@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4", "claude-sonnet-4-5"])
def test_the_estimate_of_a_prompt_is_above_what_tokenizers_make_of_it(kind: str, name: str) -> None:
    wanted = request(PROSE[kind])
    counted = load_litellm().token_counter(model=name, messages=list(wanted.turns))
    assert counted <= tokens_in_of(wanted) <= 4 * counted
    assert worst_case(NO_MODEL, wanted).tokens == tokens_in_of(wanted) + wanted.tokens_max
