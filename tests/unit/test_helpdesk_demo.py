from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from examples.helpdesk.demo import (
    OOS_LABEL,
    PAYMENT,
    STOCK,
    TICKET,
    demo_events,
    judge,
)
from examples.helpdesk.fraud import Payment
from examples.helpdesk.inventory import StockLow
from examples.helpdesk.tickets import Message, Ticket

SCHEMAS: dict[str, type[Message]] = {TICKET: Ticket, STOCK: StockLow, PAYMENT: Payment}


def test_the_demo_publishes_every_kind_of_event_each_once() -> None:
    events = list(demo_events())

    assert Counter(event.type for event in events) == {TICKET: 485, STOCK: 68, PAYMENT: 195}
    assert len({(event.source, event.id) for event in events}) == len(events)


def test_the_demo_publishes_the_same_in_the_same_order() -> None:
    assert list(demo_events()) == list(demo_events())


def test_the_kinds_are_mixed() -> None:
    first = [event.type for event in demo_events()][:50]

    assert set(first) == {TICKET, STOCK, PAYMENT}


def test_every_event_is_what_its_workflow_expects_and_names_its_subject() -> None:
    for event in demo_events():
        SCHEMAS[event.type].model_validate(event.data)
        assert event.subject


def test_a_ticket_is_the_subject_of_its_event() -> None:
    tickets = [event for event in demo_events() if event.type == TICKET]

    assert all(event.subject == event.data["ticket_id"] for event in tickets)


def test_some_tickets_come_from_customers_some_from_strangers_some_from_nobody() -> None:
    writers = Counter(
        str(event.data.get("customer_id", "nobody")).partition("_")[0]
        for event in demo_events()
        if event.type == TICKET
    )

    assert writers["nobody"] > 50
    assert writers["stranger"] > 20
    assert writers.total() - writers["nobody"] - writers["stranger"] > 250


def test_no_event_gives_its_label_away() -> None:
    for event in demo_events():
        assert {"label", "intent", "fraud"}.isdisjoint(event.data)


@pytest.mark.parametrize(
    ("label", "output", "right"),
    [
        ("card_arrival", {"intent": "card_arrival"}, True),
        ("card_arrival", {"intent": "card_linking"}, False),
        ("card_arrival", None, False),
        ("card_arrival", {}, False),
        (OOS_LABEL, {"intent": "card_arrival"}, False),
        (OOS_LABEL, {"intent": OOS_LABEL}, False),
        ("fraud", {"decision": "hold"}, True),
        ("fraud", {"decision": "release"}, False),
        ("fraud", {"decision": "review"}, False),
        ("legit", {"decision": "release"}, True),
        ("legit", {"decision": "hold"}, False),
    ],
)
def test_right_is_what_the_label_says(
    label: str, output: dict[str, Any] | None, right: bool
) -> None:
    assert judge(label, output) is right
