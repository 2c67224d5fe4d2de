"""A small app for tests of the command line."""

from __future__ import annotations

from pydantic import BaseModel

from caseworks import App


class Order(BaseModel):
    """The data of an order."""

    item: str
    price: float


app = App("shop")


@app.agent()
async def risk(order: Order) -> float:
    """How risky it is."""
    return min(1.0, order.price / 1000)


@app.agent()
async def decide(order: Order, risk: float) -> str:
    """What to do with it."""
    return "review" if risk > 0.5 else "ship"


app.workflow("order", on={"order.placed": Order}, steps=[risk, decide])
