"""A model at its port that says what the test wrote down for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from agents.mind.port import Reply, Request, ToolCall

Line = Reply | Exception | Callable[[Request], Reply] | None
"""What one request is answered with; `None` is never."""


def says(text: str, *, cut: bool = False) -> Reply:
    """A text of 20 tokens in and 10 out."""
    return Reply(text, 20, 10, Decimal("0.00004"), cut=cut)


def wants(*calls: tuple[str, str]) -> Reply:
    """Calls of tools, by name and arguments as JSON."""
    made = (ToolCall(f"call_{at}", name, written) for at, (name, written) in enumerate(calls))
    return Reply("", 20, 10, Decimal("0.00004"), calls=tuple(made))


class ScriptedModel:
    """Keeps the requests, and answers each with the next line; beyond them it fails the test."""

    name = "scripted"

    def __init__(self, *script: Line) -> None:
        self.requests: list[Request] = []
        self.usd_per_token: Decimal | None = Decimal("0.000001")
        self._script = list(script)

    def price(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        if self.usd_per_token is None:
            return None
        return (tokens_in + tokens_out) * self.usd_per_token

    async def prepare(self) -> None:
        """Nothing to load."""

    async def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        if len(self.requests) > len(self._script):
            raise AssertionError(f"the script has {len(self._script)} lines")
        match self._script[len(self.requests) - 1]:
            case None:
                return await asyncio.Event().wait() and says("never")
            case Exception() as error:
                raise error
            case Reply() as reply:
                return reply
            case made:
                return made(request)
