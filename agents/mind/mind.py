"""Asking a model for a typed answer, within the attempt's time and budget.

The answer is asked for as JSON by its schema, validated by pydantic, and when it does not fit the
model is shown why, a bounded number of times. Limits are checked before each call and settled
after it, also when the answer is of no use.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from agents.limits.budget import BudgetSpentError
from agents.mind.errors import ModelAnswerError
from agents.mind.port import NO_MODEL, Reply, Request, Turn, tokens_in_of, worst_case
from events.errors import AgentError, TransientError
from schemas.usage import Usage

if TYPE_CHECKING:
    from agents.context import Context
    from agents.services import Services

T = TypeVar("T")

DEPENDENCY = "model"
"""What an agent that asks a model declares in `calls`."""
ANSWER_TOKENS_MAX = 2048
ANSWER_TOKENS_MIN = 16
SHOWN_CHARS_MAX = 2000
FREE = Decimal(0)
_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class Mind:
    """The model as one attempt may use it: `ctx.model`."""

    def __init__(self, context: Context, services: Services) -> None:
        self._context = context
        self._services = services

    @property
    def available(self) -> bool:
        """Whether a model is configured; without one, `ask` raises `ModelUnavailable`."""
        return self._services.model is not NO_MODEL

    async def ask(
        self,
        output_type: type[T],
        prompt: str,
        *,
        system: str | None = None,
        images: Sequence[bytes | str] = (),
        tokens_max: int = ANSWER_TOKENS_MAX,
    ) -> T:
        """The model's answer as `output_type` (`str`: its text as it is).

        `images` are bytes (PNG, JPEG, GIF, WebP) or URLs. The agent declares `calls=["model"]`.

        Raises `ModelUnavailable`, `ModelAnswerError` (it does not fit, after repairs),
        `ModelError`, `HaltedError` (the budget is spent), `DependencyOpenError` and
        `TransientError`.
        """
        kind: Any = output_type
        schema = None if output_type is str else _schema(kind)
        turns = _opening(prompt, system, images, schema)
        for repair in range(self._services.limits.repairs_max + 1):
            reply = await self._complete(turns, schema, tokens_max)
            if output_type is str:
                return reply.text  # type: ignore[return-value]
            try:
                answer: T = _adapter(kind).validate_json(_json_in(reply.text))
            except ValidationError as error:
                wrong = _explained(error)
                self._context.trace.add(f"model answer {repair + 1} does not fit: {wrong}")
                self._count("invalid")
                turns = (*turns, *_repair(reply.text, wrong))
            else:
                return answer
        raise ModelAnswerError(f"the model's answer does not fit: {wrong}"[:SHOWN_CHARS_MAX])

    async def _complete(
        self, turns: tuple[Turn, ...], schema: dict[str, Any] | None, tokens_max: int
    ) -> Reply:
        """One guarded call, counted and settled however it ends."""
        context, model = self._context, self._services.model
        async with context.call(DEPENDENCY):
            request = Request(
                turns, self._answer_tokens(turns, tokens_max), context.time_left_s, schema
            )
            estimate = worst_case(model, request)
            # A call that was given up counts as its worst case: nobody knows what it cost.
            spent = Usage(tokens_in=estimate.tokens, usd=estimate.usd or FREE, calls=1)
            context.budget.reserve(estimate)
            context.trace.add(f"model call: {_shown(turns[-1])}")
            try:
                reply = await model.complete(request)
                spent = Usage(
                    tokens_in=reply.tokens_in,
                    tokens_out=reply.tokens_out,
                    usd=reply.usd or FREE,
                    calls=1,
                )
                self._count("ok")
            except (AgentError, TimeoutError, asyncio.CancelledError) as error:
                if isinstance(error, AgentError) and not _gave_up(error):
                    spent = Usage(calls=1)
                self._count(error.kind if isinstance(error, AgentError) else "timeout")
                raise
            finally:
                context.budget.settle(estimate, spent)
                self._spent(spent)
        return reply

    def _answer_tokens(self, turns: tuple[Turn, ...], tokens_max: int) -> int:
        left = self._context.budget.tokens_left()
        if left is None:
            return tokens_max
        free = min(tokens_max, left - tokens_in_of(turns))
        if free < ANSWER_TOKENS_MIN:
            raise BudgetSpentError(f"{left} tokens left, too few for this prompt")
        return free

    def _count(self, status: str) -> None:
        name = self._services.model.name
        self._services.telemetry.count("caseworks_model_calls_total", model=name, status=status)

    def _spent(self, spent: Usage) -> None:
        tell, name = self._services.telemetry, self._services.model.name
        for direction, tokens in (("in", spent.tokens_in), ("out", spent.tokens_out)):
            tell.count("caseworks_model_tokens_total", tokens, model=name, direction=direction)
        tell.count("caseworks_model_usd_total", float(spent.usd), model=name)


def _gave_up(error: AgentError) -> bool:
    return isinstance(error, TransientError) and isinstance(error.__cause__, TimeoutError)


@lru_cache(maxsize=256)
def _adapter(output_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(output_type)


@lru_cache(maxsize=256)
def _schema(output_type: Any) -> dict[str, Any]:
    return _adapter(output_type).json_schema()


def _opening(
    prompt: str, system: str | None, images: Sequence[bytes | str], schema: dict[str, Any] | None
) -> tuple[Turn, ...]:
    rules = [system] if system else []
    if schema is not None:
        rules.append(
            "Answer with one JSON value and nothing else. It must fit this JSON Schema:\n"
            + json.dumps(schema, separators=(",", ":"))
        )
    turns: list[Turn] = [{"role": "system", "content": "\n\n".join(rules)}] if rules else []
    content: Any = prompt
    if images:
        shown = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
        content = [{"type": "text", "text": prompt}, *shown]
    return (*turns, {"role": "user", "content": content})


def _url(image: bytes | str) -> str:
    if isinstance(image, str):
        return image
    kind = next((kind for magic, kind in _MAGIC.items() if image.startswith(magic)), "image/png")
    return f"data:{kind};base64,{b64encode(image).decode()}"


def _json_in(text: str) -> str:
    """The JSON in an answer: models like to wrap it in a code fence."""
    plain = text.strip()
    if plain.startswith("```"):
        plain = plain.partition("\n")[2].rpartition("```")[0].strip()
    return plain


def _explained(error: ValidationError) -> str:
    lines = [
        f"{'.'.join(str(part) for part in each['loc']) or 'the answer'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)[:10]
    ]
    return "; ".join(lines)[:SHOWN_CHARS_MAX]


def _repair(answer: str, wrong: str) -> tuple[Turn, Turn]:
    told = f"That does not fit: {wrong}. Answer again with the corrected JSON value only."
    return (
        {"role": "assistant", "content": answer[:SHOWN_CHARS_MAX]},
        {"role": "user", "content": told},
    )


def _shown(turn: Turn) -> str:
    content = turn["content"]
    return content if isinstance(content, str) else str(content[0]["text"])
