"""A stock running low: what is the demand, who delivers, and how much to order.

All three steps are pure; the history of orders and the table of suppliers are handed in, and read
from the data folder once a process by `order_lines()` and `suppliers()`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Annotated, NamedTuple

from pydantic import Field

from examples.helpdesk.files import DATA, read_csv
from examples.helpdesk.tickets import Message, Name, Share

Units = Annotated[int, Field(ge=0, le=10_000_000)]

# Trading days with an order for the product that make a rate half trustworthy.
_HALF_TRUST_DAYS = 1.0
# A proposal from one day's orders is no better than a guess: a person decides.
PROPOSE_FROM = 0.6


class StockLow(Message):
    """The data of `inventory.stock.low`: a product fell below its reorder point."""

    product_id: int = Field(ge=1)
    product: Name
    group: Name
    on_hand: Units
    backordered: Units = 0
    reorder_point: Units
    safety_stock: Units
    as_of: date


class Demand(Message):
    """What left the shelf a trading day until now, and on how many of how many days."""

    units_per_day: float = Field(ge=0)
    days_with_orders: int
    trading_days: int
    confidence: Share


class Supplier(Message):
    """Who can deliver a group of products, and on what terms."""

    supplier_id: str
    name: str
    groups: tuple[str, ...]
    lead_time_days: int
    pack_units: int
    cost: float


class SupplierChoice(Message):
    """The supplier chosen, and why."""

    supplier: Supplier
    in_time: bool
    reason: str


class OrderProposal(Message):
    """The result's output."""

    product_id: int
    supplier_id: str
    quantity: Units
    covers_days: float | None
    confidence: Share
    reason: str


class OrderLine(NamedTuple):
    """Units of a product that left (or, returned, came back) on a day."""

    day: date
    units: int


def demand_of(low: StockLow, lines: Mapping[int, Sequence[OrderLine]]) -> Demand:
    """The mean of units a trading day up to the event, returns taken off."""
    trading_days = {line.day for each in lines.values() for line in each if line.day <= low.as_of}
    own = [line for line in lines.get(low.product_id, ()) if line.day <= low.as_of]
    ordered_on = {line.day for line in own if line.units > 0}
    units = max(0, sum(line.units for line in own))
    return Demand(
        units_per_day=round(units / len(trading_days), 2) if trading_days else 0.0,
        days_with_orders=len(ordered_on),
        trading_days=len(trading_days),
        confidence=round(len(ordered_on) / (len(ordered_on) + _HALF_TRUST_DAYS), 2),
    )


def choose_supplier(low: StockLow, demand: Demand, offers: Sequence[Supplier]) -> SupplierChoice:
    """The cheapest whose delivery comes before the shelf is empty, else the fastest.

    A supplier of the group "any" delivers everything.
    """
    able = [offer for offer in offers if low.group in offer.groups or "any" in offer.groups]
    if not able:
        raise ValueError(f"no supplier for group {low.group!r}: add one to suppliers.csv")
    days_left = low.on_hand / demand.units_per_day if demand.units_per_day else math.inf
    in_time = [offer for offer in able if offer.lead_time_days <= days_left]
    if in_time:
        best = min(in_time, key=lambda offer: (offer.cost, offer.lead_time_days))
        reason = f"cheapest of {len(in_time)} that deliver in time"
    else:
        best = min(able, key=lambda offer: (offer.lead_time_days, offer.cost))
        reason = f"fastest: stock lasts {days_left:.1f} days"
    return SupplierChoice(supplier=best, in_time=bool(in_time), reason=reason)


def propose_order(low: StockLow, demand: Demand, choice: SupplierChoice) -> OrderProposal:
    """Reorder point and safety stock, plus what leaves until delivery, in whole packs."""
    supplier = choice.supplier
    until_delivery = demand.units_per_day * supplier.lead_time_days
    goal = low.reorder_point + low.safety_stock + until_delivery
    missing = max(0.0, goal - low.on_hand + low.backordered)
    quantity = math.ceil(missing / supplier.pack_units) * supplier.pack_units
    covers = round(quantity / demand.units_per_day, 1) if demand.units_per_day else None
    return OrderProposal(
        product_id=low.product_id,
        supplier_id=supplier.supplier_id,
        quantity=quantity,
        covers_days=covers,
        confidence=demand.confidence,
        reason=f"{demand.units_per_day} a day, seen on {demand.days_with_orders} of "
        f"{demand.trading_days} trading days; {supplier.name}: {choice.reason}",
    )


@cache
def order_lines() -> Mapping[int, Sequence[OrderLine]]:
    """The order history of the data folder by product."""
    lines: dict[int, list[OrderLine]] = {}
    for row in read_csv(DATA / "stock_orders.csv"):
        line = OrderLine(date.fromisoformat(row["day"]), int(row["units"]))
        lines.setdefault(int(row["product_id"]), []).append(line)
    return lines


@cache
def suppliers() -> Sequence[Supplier]:
    """The suppliers of the data folder."""
    return [
        Supplier.model_validate({**row, "groups": tuple(row["groups"].split("|"))})
        for row in read_csv(DATA / "suppliers.csv")
    ]
