"""Asking a model for a typed answer, within the attempt's time and budget.

The answer is asked for as JSON by its schema, validated by pydantic, and when it does not fit the
model is shown why, a bounded number of times. Limits are checked before each call and settled
after it, also when the answer is of no use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from agents.limits.budget import BudgetSpentError
from agents.mind.errors import AnswerLostError, ModelAnswerError
from agents.mind.port import NO_MODEL, Reply, Request, Turn, tokens_in_of, worst_case
from agents.mind.tools import Toolbox
from agents.mind.turns import explained, opening, read, repair, schema_of, shown
from events.errors import AgentError
from schemas.usage import Usage

if TYPE_CHECKING:
    from agents.context import Context
    from agents.services import Services

T = TypeVar("T")

DEPENDENCY = "model"
"""What an agent that asks a model declares in `calls`."""
ANSWER_TOKENS_MAX = 2048
ANSWER_TOKENS_MIN = 16
FREE = Decimal(0)


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
        schema = schema_of(output_type)
        turns = opening(prompt, system, images, schema)
        return await self._answer(output_type, turns, self._toolbox(()), tokens_max)

    async def run(
        self,
        output_type: type[T],
        prompt: str,
        *,
        tools: Sequence[Callable[..., Any]],
        system: str | None = None,
        tokens_max: int = ANSWER_TOKENS_MAX,
    ) -> T:
        """Like `ask`, and the model may call *tools* before it answers.

        Tools are typed functions; what their docstrings say is all that the model knows of them.
        An `async def` must not block; a plain `def` runs in a thread of its own. Each request to
        the model is an iteration of the attempt.

        Raises what `ask` does; `HaltedError` also when the iterations are spent or the model
        misuses its tools, `DeclarationError` for a tool that no model can call.
        """
        turns = opening(prompt, system, (), schema_of(output_type))
        return await self._answer(output_type, turns, self._toolbox(tools), tokens_max)

    def _toolbox(self, tools: Sequence[Callable[..., Any]]) -> Toolbox:
        services = self._services
        return Toolbox(tools, services.threads, self._context.trace, services.limits.repairs_max)

    async def _answer(
        self, output_type: type[T], turns: tuple[Turn, ...], tools: Toolbox, tokens_max: int
    ) -> T:
        """Let the model call its tools and correct itself until its answer fits."""
        schema = schema_of(output_type)
        repairs_left = self._services.limits.repairs_max
        while True:
            if tools.specs:
                self._context.iteration("model")
            request = Request(turns, tokens_max, self._context.time_left_s, schema, tools.specs)
            reply = await self._complete(request)
            if reply.calls:
                turns = (*turns, *await tools.answered(reply))
                continue
            try:
                return read(output_type, reply)
            except ValueError as error:
                wrong = explained(error)
            self._context.trace.add(f"model answer does not fit: {wrong}")
            self._count("invalid")
            if not repairs_left:
                raise ModelAnswerError(f"the model's answer does not fit: {wrong}")
            repairs_left -= 1
            turns = (*turns, *repair(reply.text, wrong))

    async def _complete(self, wanted: Request) -> Reply:
        """One guarded call, counted and settled however it ends."""
        context, model = self._context, self._services.model
        async with context.call(DEPENDENCY):
            await model.prepare()
            request = replace(
                wanted, tokens_max=self._answer_tokens(wanted), timeout_s=context.time_left_s
            )
            estimate = worst_case(model, request)
            # A call that was given up counts as its worst case: nobody knows what it cost.
            spent = Usage(tokens_in=estimate.tokens, usd=estimate.usd or FREE, calls=1)
            context.budget.reserve(estimate)
            context.trace.add(f"model call: {shown(request.turns[-1])}")
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
                if isinstance(error, AgentError) and not isinstance(error, AnswerLostError):
                    spent = Usage(calls=1)
                self._count(error.kind if isinstance(error, AgentError) else "timeout")
                raise
            finally:
                context.budget.settle(estimate, spent)
                self._spent(spent)
        return reply

    def _answer_tokens(self, request: Request) -> int:
        left = self._context.budget.tokens_left()
        if left is None:
            return request.tokens_max
        free = min(request.tokens_max, left - tokens_in_of(request))
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
