from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.inventory import (
    PROPOSE_FROM,
    Demand,
    OrderLine,
    StockLow,
    Supplier,
    SupplierChoice,
    choose_supplier,
    demand_of,
    order_lines,
    propose_order,
    suppliers,
)
from examples.helpdesk.stock_history import low_stock, order_history

MONDAY, TUESDAY, FRIDAY = date(2011, 1, 3), date(2011, 1, 4), date(2011, 1, 7)
LOW = StockLow(
    product_id=1,
    product="Bell",
    group="Tools",
    on_hand=40,
    reorder_point=50,
    safety_stock=20,
    as_of=TUESDAY,
)
DEMAND = Demand(units_per_day=10, days_with_orders=2, trading_days=2, confidence=0.67)


def offer(name: str, days: int, cost: float, group: str = "Tools", pack: int = 1) -> Supplier:
    return Supplier(
        supplier_id=name,
        name=name,
        groups=(group,),
        lead_time_days=days,
        pack_units=pack,
        cost=cost,
    )


def test_demand_is_a_rate_over_trading_days_until_the_event_returns_taken_off() -> None:
    lines = {
        1: [OrderLine(MONDAY, 30), OrderLine(TUESDAY, -10), OrderLine(FRIDAY, 500)],
        2: [OrderLine(TUESDAY, 1)],
    }

    demand = demand_of(LOW, lines)

    assert demand.units_per_day == 10
    assert (demand.days_with_orders, demand.trading_days) == (1, 2)


def test_more_returns_than_orders_are_no_demand() -> None:
    assert demand_of(LOW, {1: [OrderLine(MONDAY, -5)]}).units_per_day == 0


def test_a_product_that_nobody_ordered_has_no_demand_and_no_confidence() -> None:
    demand = demand_of(LOW, {})

    assert (demand.units_per_day, demand.confidence) == (0, 0)


def test_one_day_of_orders_is_a_guess_and_two_are_not() -> None:
    one = demand_of(LOW, {1: [OrderLine(MONDAY, 3)]})
    two = demand_of(LOW, {1: [OrderLine(MONDAY, 3), OrderLine(TUESDAY, 3)]})

    assert one.confidence < PROPOSE_FROM <= two.confidence


def test_the_cheapest_in_time_delivers() -> None:
    offers = [offer("late", 9, 1), offer("dear", 1, 3), offer("right", 4, 2)]

    choice = choose_supplier(LOW, DEMAND, offers)

    assert (choice.supplier.name, choice.in_time) == ("right", True)


def test_when_none_is_in_time_the_fastest_delivers() -> None:
    choice = choose_supplier(LOW, DEMAND, [offer("late", 9, 1), offer("less late", 5, 2)])

    assert (choice.supplier.name, choice.in_time) == ("less late", False)


def test_a_group_without_a_supplier_is_said_so() -> None:
    with pytest.raises(ValueError, match="no supplier for group 'Tools'"):
        choose_supplier(LOW, DEMAND, [offer("other", 1, 1, group="Paint")])


def test_an_order_refills_and_covers_the_wait_in_whole_packs() -> None:
    choice = SupplierChoice(supplier=offer("s", 4, 1, pack=25), in_time=True, reason="")

    proposal = propose_order(LOW, DEMAND, choice)

    assert proposal.quantity == 75  # 50 + 20 + 4 * 10 - 40 = 70, in packs of 25
    assert proposal.covers_days == 7.5


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 500), st.integers(0, 30))
def test_an_order_never_leaves_stock_below_the_goal(
    on_hand: int, backordered: int, pack: int, days: int
) -> None:
    low = LOW.model_copy(update={"on_hand": on_hand, "backordered": backordered})
    choice = SupplierChoice(supplier=offer("s", days, 1, pack=pack), in_time=True, reason="")

    quantity = propose_order(low, DEMAND, choice).quantity

    goal = low.reorder_point + low.safety_stock + days * 10
    assert quantity % pack == 0
    assert on_hand - backordered + quantity >= goal or quantity == 0
    assert quantity < max(0, goal - on_hand + backordered) + pack


def test_every_published_low_stock_gets_a_proposal_and_some_are_left_to_a_person() -> None:
    proposals = []
    for row in read_jsonl(DATA / "stock_low.jsonl"):
        low = StockLow.model_validate(row)
        demand = demand_of(low, order_lines())
        choice = choose_supplier(low, demand, suppliers())
        proposals.append(propose_order(low, demand, choice))

    sure = [each for each in proposals if each.confidence >= PROPOSE_FROM]
    assert all(each.quantity > 0 for each in proposals)
    assert 0 < len(sure) < len(proposals)


def test_negative_stock_is_refused() -> None:
    with pytest.raises(ValidationError):
        StockLow.model_validate({**LOW.model_dump(), "on_hand": -1})


# ---- two catalogues made one

STOCK = [
    {
        "product_id": str(number),
        "product_name": f"P{number}",
        "location": location,
        "quantity": str(quantity),
        "total_quantity": "60",
        "reorder_point": str(reorder),
        "safety_stock_level": "5",
    }
    for number, location, quantity, reorder in [
        (1, "Shelf", 20, 55),
        (1, "Cellar", 40, 55),
        (2, "Shelf", 60, 10),
        (3, "Shelf", 60, 61),
    ]
]


def line(invoice: str, code: str, units: int, at: str = "2011-01-03 10:00:00") -> dict[str, str]:
    return {"InvoiceNo": invoice, "StockCode": code, "Quantity": str(units), "InvoiceDate": at}


def test_the_most_ordered_article_stands_for_the_product_with_the_least_room() -> None:
    history = order_history(STOCK, [line("1", "20000A", 5), line("2", "10000", 9)])

    assert [(each.product_id, each.units) for each in history] == [(1, 5), (3, 9)]


def test_a_cancellation_brings_units_back_and_a_correction_loses_them() -> None:
    lines = [line("1", "10000", 9), line("C2", "10000", -4), line("3", "10000", -2)]

    history = order_history(STOCK, lines)

    assert [(each.units, each.is_demand) for each in history] == [(9, True), (-4, True), (2, False)]


def test_postage_is_no_article() -> None:
    assert order_history(STOCK, [line("1", "POST", 9)]) == []


def test_a_product_is_reported_once_when_it_first_falls_below_its_reorder_point() -> None:
    lines = [
        line("1", "10000", 9, "2011-01-03 10:00:00"),
        line("2", "20000", 3, "2011-01-04 10:00:00"),
        line("3", "20000", 4, "2011-01-05 10:00:00"),
        line("4", "20000", 1, "2011-01-06 10:00:00"),
    ]

    reported = list(low_stock(STOCK, order_history(STOCK, lines)))

    assert [(each["product_id"], each["as_of"]) for each in reported] == [
        (3, "2011-01-03"),
        (1, "2011-01-05"),
    ]
    assert reported[1]["group"] == "Cellar"
    assert reported[1]["on_hand"] == 53
