"""Who wrote: the customer table, read once. A stranger is a normal answer, not an error."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from examples.helpdesk.files import DATA, read_jsonl
from examples.helpdesk.tickets import OUT_OF_SCOPE, Customer, Ticket, Triage

STRANGER = Customer(known=False)


def look_up(ticket: Ticket, triage: Triage) -> Customer:
    """The customer of a ticket; nobody's record is opened for a ticket that is none of ours."""
    if ticket.customer_id is None or triage.intent == OUT_OF_SCOPE:
        return STRANGER
    return customers().get(ticket.customer_id, STRANGER)


@cache
def customers() -> Mapping[str, Customer]:
    """The customers of the data folder by id, read on first use."""
    rows = read_jsonl(DATA / "customers.jsonl")
    return {row["customer_id"]: Customer(known=True, **row) for row in rows}
