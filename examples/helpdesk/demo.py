"""What the demo publishes, and what counts as right.

Every event is real data with, where somebody labelled it, its label; none of these rows was used
as an example, in a threshold or in a history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from examples.helpdesk.files import DATA, read_jsonl

OOS_LABEL = "oos"

TICKET = "ticket.created"
STOCK = "inventory.stock.low"
PAYMENT = "fraud.alert.triggered"


@dataclass(frozen=True)
class DemoEvent:
    """A business event to publish; *label* is what a person said is right, None if nobody did."""

    type: str
    id: str
    source: str
    subject: str
    data: Mapping[str, Any]
    label: str | None


def demo_events() -> Iterator[DemoEvent]:
    """All events of the demo, the three kinds mixed, always in the same order."""
    events = [*_tickets(), *_stock(), *_payments()]
    yield from sorted(events, key=lambda event: digest(event.type + event.id))


def judge(label: str, output: Mapping[str, Any] | None) -> bool:
    """Whether a result that nobody looked at is right.

    For tickets that is the intent; an out-of-scope ticket has none, so any answer to it is wrong.
    For payments it is to hold fraud and to release the rest; a review is not a decision.
    """
    if output is None:
        return False
    if label in {"fraud", "legit"}:
        return output.get("decision") == {"fraud": "hold", "legit": "release"}[label]
    return label != OOS_LABEL and output.get("intent") == label


def digest(text: str) -> str:
    """A fixed shuffle: the order of SHA-256."""
    return sha256(text.encode()).hexdigest()


def _tickets() -> Iterator[DemoEvent]:
    customers = [row["customer_id"] for row in read_jsonl(DATA / "customers.jsonl")]
    for name in ("tickets.jsonl", "out_of_scope.jsonl"):
        for row in read_jsonl(DATA / name):
            data = {"ticket_id": row["id"], "body": row["text"], "channel": "chat"}
            data |= _writer(row["id"], customers)
            label = row["intent"]
            yield DemoEvent(TICKET, row["id"], "/helpdesk/chat", row["id"], data, label)


def _writer(ticket_id: str, customers: list[str]) -> dict[str, str]:
    """Who wrote it: mostly a customer, at times someone we do not know, or who does not say."""
    number = int(digest(ticket_id)[:8], 16)
    match number % 10:
        case 0 | 1:
            return {}
        case 2:
            return {"customer_id": f"stranger_{number}"}
        case _:
            return {"customer_id": customers[number % len(customers)]}


def _stock() -> Iterable[DemoEvent]:
    for row in read_jsonl(DATA / "stock_low.jsonl"):
        subject = f"product-{row['product_id']}"
        event_id = f"{subject}-{row['as_of']}"
        yield DemoEvent(STOCK, event_id, "/warehouse", subject, row, None)


def _payments() -> Iterable[DemoEvent]:
    for row in read_jsonl(DATA / "payments.jsonl"):
        label = "fraud" if row.pop("fraud") else "legit"
        yield DemoEvent(PAYMENT, row["payment_id"], "/payments/alerts", row["customer"], row, label)
