"""Agents that may be asked alone."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from caseworks import App
from caseworks.client import new_event
from caseworks.testing import play
from events.errors import DeclarationError


class Order(BaseModel):
    item: str
    price: float


def shop() -> App:
    app = App("shop")

    @app.agent(direct=True)
    async def price_check(order: Order) -> str:
        return "high" if order.price > 100 else "low"

    return app


def test_an_agent_that_is_asked_alone_answers_under_its_own_event_type() -> None:
    event = new_event("caseworks.agent.price-check", {"item": "lamp", "price": 140})
    [result] = play(shop(), [event])

    assert (result.workflow, result.output) == ("agent-price-check", "high")


def test_what_a_direct_agent_reads_is_checked_at_the_door() -> None:
    adapter = shop().data_types["caseworks.agent.price-check"]

    assert adapter.json_schema()["required"] == ["item", "price"]


def test_an_agent_that_reads_another_step_cannot_be_asked_alone() -> None:
    app = App("shop")
    declare = app.agent(direct=True)

    async def decide(order: Order, risk: float) -> str:
        return f"{order.item} {risk}"

    with pytest.raises(DeclarationError, match="reads the step 'risk'"):
        declare(decide)


def test_an_agent_is_not_open_to_all_unless_it_says_so() -> None:
    app = App("shop")

    @app.agent()
    async def price_check(order: Order) -> str:
        return order.item

    assert app.workflows == ()
