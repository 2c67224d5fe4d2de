"""Agents that can be made to misbehave in every way that an alert tells of."""

from __future__ import annotations

import asyncio
import os
import time

from pydantic import BaseModel

from caseworks import App, Context, Step

MENDED = "ALERTS_MENDED"
"""Names the file that says, by being there, that the crm is up again."""


class Order(BaseModel):
    item: str = "lamp"


app = App("alerts")


@app.agent(timeout_s=2, in_flight_max=4)
async def steady(order: Order) -> str:
    await asyncio.sleep(0.02)
    return order.item


@app.agent(timeout_s=2)
async def sick(order: Order) -> str:
    raise ValueError(order.item)


@app.agent(calls=["crm"], timeout_s=2)
async def caller(order: Order, ctx: Context) -> str:
    async with ctx.call("crm"):
        if not os.path.exists(os.environ[MENDED]):  # noqa: ASYNC240, PTH110 - quick enough
            raise ConnectionError("crm is away")
    return order.item


@app.agent(timeout_s=5)
async def blocker(order: Order) -> str:
    until = time.monotonic() + 1.5
    while time.monotonic() < until:  # what an agent must not do
        pass
    return order.item


@app.agent(timeout_s=1)
async def ghost(order: Order) -> str:
    """No process of ours works for it: the test itself is its group's member."""
    return order.item


app.workflow("good", on={"order.good": Order}, steps=[steady])
app.workflow("ill", on={"order.ill": Order}, steps=[Step(sick, on_dead_letter="fail")])
app.workflow("called", on={"order.called": Order}, steps=[caller])
app.workflow("blocked", on={"order.blocked": Order}, steps=[blocker])
app.workflow("haunted", on={"order.haunted": Order}, steps=[ghost])
