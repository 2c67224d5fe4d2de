"""One stock history out of two public data sets that have nothing to do with each other.

AdventureWorks gives products with stock, safety stock and reorder point, but no sales; Online
Retail gives real order lines of four days, but no stock. We marry them by rank: the most-ordered
article of the shop stands for the product with the least room above its reorder point, and so on
down. Quantities and times stay as they are; which product they hit is ours. Used by `prepare.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class StockLine(NamedTuple):
    """Units that left a product's stock; negative when they came back."""

    at: str
    product_id: int
    units: int
    is_demand: bool

    @property
    def day(self) -> str:
        """The date of the line."""
        return self.at[:10]


class Product(NamedTuple):
    """A product over all its locations; its group is where most of it lies."""

    product_id: int
    name: str
    group: str
    quantity: int
    reorder_point: int
    safety_stock: int

    @property
    def room(self) -> int:
        """Units to go until it is low."""
        return self.quantity - self.reorder_point


def products(stock: Iterable[Mapping[str, str]]) -> dict[int, Product]:
    """The products of the stock table by id."""
    by_id: defaultdict[int, list[Mapping[str, str]]] = defaultdict(list)
    for row in stock:
        by_id[int(row["product_id"])].append(row)
    return {product_id: _product(product_id, rows) for product_id, rows in by_id.items()}


def order_history(
    stock: Sequence[Mapping[str, str]], invoice_lines: Iterable[Mapping[str, str]]
) -> list[StockLine]:
    """The invoice lines in time order, each on the product that its article stands for.

    Postage and manual entries have no article number and are left out, and so are the articles
    that no product is left for.
    """
    lines = [line for line in invoice_lines if line["StockCode"][:5].isdigit()]
    ordered: Counter[str] = Counter()
    for line in lines:
        ordered[line["StockCode"]] += max(0, int(line["Quantity"]))
    articles = sorted(ordered, key=lambda code: (-ordered[code], code))
    ranked = sorted(products(stock).values(), key=lambda each: (each.room, each.product_id))
    stands_for = {code: each.product_id for code, each in zip(articles, ranked, strict=False)}
    history = [
        _stock_line(line, stands_for[line["StockCode"]])
        for line in lines
        if line["StockCode"] in stands_for
    ]
    return sorted(history, key=lambda line: line.at)


def low_stock(
    stock: Sequence[Mapping[str, str]], history: Sequence[StockLine]
) -> Iterator[dict[str, Any]]:
    """The data of an `inventory.stock.low` for each product, the first time it is low."""
    known = products(stock)
    left = {product_id: each.quantity for product_id, each in known.items()}
    reported = set()
    for product_id, each in known.items():
        if each.room < 0:
            reported.add(product_id)
            yield _low(each, left[product_id], history[0].day)
    for line in history:
        left[line.product_id] -= line.units
        product = known[line.product_id]
        if line.product_id not in reported and left[line.product_id] < product.reorder_point:
            reported.add(line.product_id)
            yield _low(product, left[line.product_id], line.day)


def _product(product_id: int, rows: Sequence[Mapping[str, str]]) -> Product:
    largest = max(rows, key=lambda row: int(row["quantity"]))
    return Product(
        product_id,
        largest["product_name"],
        largest["location"],
        int(largest["total_quantity"]),
        int(largest["reorder_point"]),
        int(largest["safety_stock_level"]),
    )


def _stock_line(line: Mapping[str, str], product_id: int) -> StockLine:
    """A sale takes units, a cancellation (C…) brings them back, a correction takes what is lost."""
    units = int(line["Quantity"])
    is_correction = units < 0 and not line["InvoiceNo"].startswith("C")
    taken = -units if is_correction else units
    return StockLine(line["InvoiceDate"], product_id, taken, is_demand=not is_correction)


def _low(product: Product, left: int, day: str) -> dict[str, Any]:
    return {
        "product_id": product.product_id,
        "product": product.name,
        "group": product.group,
        "on_hand": max(0, left),
        "backordered": max(0, -left),
        "reorder_point": product.reorder_point,
        "safety_stock": product.safety_stock,
        "as_of": day,
    }
