"""One request to a model through litellm's real HTTP path, at a server that a test scripts."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.mind.model import LitellmModel
from agents.mind.port import Reply, Request
from events.errors import AgentError
from events.settings import Settings
from tests.model_server import Answer, ModelServer

MODEL = "openai/gpt-4o-mini"  # litellm's map has its price: 0.15 and 0.60 dollars a million tokens
MARKS = [
    pytest.mark.slow,  # importing litellm takes seconds
    pytest.mark.skipif(
        importlib.util.find_spec("litellm") is None, reason="the extra `model` is not installed"
    ),
]


def request(text: str = "hello", **fields: Any) -> Request:
    known: dict[str, Any] = {"tokens_max": 50, "timeout_s": 10.0}
    return Request(({"role": "user", "content": text},), **{**known, **fields})


def using(
    server: ModelServer, work: Callable[[LitellmModel], Awaitable[Any]], **settings: Any
) -> Any:
    """What `work` makes of a model at that server, on an event loop of its own."""
    known = {"model": MODEL, "model_api_base": server.api_base, **settings}

    async def run() -> Any:
        model = LitellmModel(Settings(**known))
        try:
            return await work(model)
        finally:
            await model.aclose()

    return asyncio.run(run())


def asked(*script: Answer, wanted: Request | None = None, **settings: Any) -> Reply:
    """The reply to one request."""
    with ModelServer(*script) as server:
        reply = using(server, lambda model: model.complete(wanted or request()), **settings)
    assert isinstance(reply, Reply)
    return reply


def failed(*script: Answer, wanted: Request | None = None, **settings: Any) -> AgentError:
    """The error of one request, which is sent once."""
    with ModelServer(*script) as server, pytest.raises(AgentError) as caught:
        using(server, lambda model: model.complete(wanted or request()), **settings)
    assert len(server.requests) == 1
    return caught.value
