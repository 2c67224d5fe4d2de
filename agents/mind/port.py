"""The port to a language model: one request, one reply, and what it may cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from agents.limits.budget import Estimate
from agents.mind.errors import ModelUnavailable

Turn = dict[str, Any]
"""A message to or from the model: `{"role": …, "content": …}`."""

BYTES_PER_TOKEN = 2
"""Tokenizers make a token of 4.2 bytes of English, 2.2 of JSON; two keeps the estimate above.

Not above all: tables of single digits come to 1.05, base64 to 1.4 (tests/unit/test_model_port.py).
"""
IMAGE_TOKENS = 1500
"""What vendors charge at most for an image of usual size."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion. `schema` is the JSON Schema of the answer, `None` for plain text."""

    turns: tuple[Turn, ...]
    tokens_max: int
    """Tokens that the answer may have."""
    timeout_s: float
    schema: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    """What the model may call: `{"type": "function", "function": {name, description, parameters}}`.
    """


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool called; `arguments` is JSON as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `usd` is `None` when nobody knows the price."""

    text: str
    tokens_in: int
    tokens_out: int
    usd: Decimal | None = None
    calls: tuple[ToolCall, ...] = ()
    cut: bool = False
    """The answer reached a limit, of tokens or of bytes, and is not complete."""


class ModelPort(Protocol):
    """A language model. Used on one event loop."""

    @property
    def name(self) -> str:
        """The model's name, for metrics."""

    def price(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        """What so many tokens cost in US dollars; `None` when nobody knows."""

    async def prepare(self) -> None:
        """Load what takes long, off the event loop; to be awaited before `price`.

        Raises `ModelUnavailable`.
        """

    async def complete(self, request: Request) -> Reply:
        """Ask once; retries are the caller's.

        Raises `TransientError` (429 with `retry_after_s`, 5xx, connection; `AnswerLostError` when
        nobody knows what the call cost) and `ModelError`.
        """


class NoModel:
    """Stands where no model is configured: every use says so at once."""

    name = "none"

    def price(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        return None

    async def prepare(self) -> None:
        raise _not_configured()

    async def complete(self, request: Request) -> Reply:
        raise _not_configured()


NO_MODEL: ModelPort = NoModel()


def _not_configured() -> ModelUnavailable:
    return ModelUnavailable(
        "no language model is configured", hint="set CASEWORKS_MODEL, for example openai/gpt-5"
    )


def tokens_in_of(request: Request) -> int:
    """An estimate from above of the tokens in a request, without the model's tokenizer."""
    total = _tokens_of([request.schema, request.tools]) if request.schema or request.tools else 0
    for turn in request.turns:
        content = turn["content"] or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                total += len(part["text"].encode()) // BYTES_PER_TOKEN + 8
            else:
                total += IMAGE_TOKENS
        if "tool_calls" in turn:
            total += _tokens_of(turn["tool_calls"])
    return total


def _tokens_of(document: Any) -> int:
    return len(json.dumps(document, ensure_ascii=False).encode()) // BYTES_PER_TOKEN


def worst_case(model: ModelPort, request: Request) -> Estimate:
    """What a request costs when the answer is as long as it may be."""
    tokens_in = tokens_in_of(request)
    return Estimate(
        tokens=tokens_in + request.tokens_max, usd=model.price(tokens_in, request.tokens_max)
    )
