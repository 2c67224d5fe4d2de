"""An app whose agents do little else than change the outside world; and a bank that counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from agents.context import Context
from agents.effects.answers import DidNotHappen, Finding, Happened, Unclear
from caseworks.app import App
from caseworks.nodes import Step
from events.errors import NotDoneError, TransientError
from schemas.base import instant
from schemas.event import Event


class Claim(BaseModel):
    amount: int


@dataclass
class Bank:
    """Pays; at times it refuses, at times its answer is lost. It knows what it paid."""

    paid: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    async def pay(self, name: str, amount: int) -> str:
        """Pay back. Raises `NotDoneError` before, `TransientError` after it has paid."""
        self.asked += 1
        await asyncio.sleep(0.03)
        if self.asked % 7 == 0:
            raise NotDoneError("the bank is busy")
        self.paid[name] += 1
        await asyncio.sleep(0.03)
        if self.asked % 5 == 0:
            raise TransientError("the answer was lost")
        return f"paid {amount}"

    async def find(self, name: str) -> Finding:
        """Whether it was paid."""
        await asyncio.sleep(0.02)
        return Happened("found") if self.paid[name] else DidNotHappen()


def app_of(bank: Bank | None) -> App:
    """Refunds by a bank; without one by calls that leave nothing, and a `reconcile` that guesses.

    Only what has no memory may be played seed after seed.
    """
    app = App("refunds")

    @app.agent(timeout_s=5.0)
    async def refund(claim: Claim, ctx: Context) -> str:
        async def pay(name: str) -> str:
            if bank is not None:
                return await bank.pay(name, claim.amount)
            await asyncio.sleep(0.03)
            if ctx.attempt == 2:
                raise TransientError("the answer was lost")
            return f"paid {claim.amount}"

        async def find(name: str) -> Finding:
            if bank is not None:
                return await bank.find(name)
            return (Happened("found"), DidNotHappen(), Unclear())[ctx.attempt % 3]

        return str(await ctx.effect("refund", pay, reconcile=find, returns=str))

    @app.agent(timeout_s=5.0)
    async def letter(claim: Claim, refund: str, ctx: Context) -> str:
        async def send() -> None:
            await asyncio.sleep(0.03)

        await ctx.effect("letter", send)
        return refund

    app.workflow(
        "refund",
        on={"refund.wanted": Claim},
        steps=[
            Step(refund, attempts_max=5, deadline_s=60.0),
            Step(letter, on_dead_letter="fail", deadline_s=60.0),
        ],
        deadline_s=100.0,
    )
    return app


app = app_of(None)


def demo_events() -> Iterator[Event]:
    """Five of them."""
    for number in range(5):
        yield Event(
            id=f"e{number}",
            source="/tests",
            type="refund.wanted",
            subject=f"s{number}",
            time=instant(1_700_000_000.0),
            data={"amount": number},
        )
