"""Refunds for tickets: ask the customer records, propose, let a person confirm, pay."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from caseworks import App, Approval, Context, PermanentError
from events.errors import TransientError

DOWN = Path(os.environ.get("CASEWORKS_DATA_DIR", ".caseworks")) / "crm-is-down"
"""While this file is there, the customer records answer 503."""


class Ticket(BaseModel):
    """The data of `ticket.created`."""

    text: str
    amount: float
    account: str


class Refund(BaseModel):
    """Money that goes back."""

    account: str
    amount: float


app = App("tickets")


@app.agent(calls=("crm",), timeout_s=10)
async def look(ticket: Ticket, context: Context) -> str:
    """Whose account it is."""
    async with context.call("crm"):
        if DOWN.exists():
            raise TransientError("the customer records answered 503")
    if not ticket.account.isdigit():
        raise PermanentError(f"account {ticket.account!r} is no number")
    return f"customer-{ticket.account}"


@app.agent()
async def propose(ticket: Ticket, look: str) -> Refund:
    """What to pay back."""
    return Refund(account=look, amount=ticket.amount)


@app.agent()
async def pay(ticket: Ticket, confirm: Refund) -> str:
    """What the customer reads."""
    return f"{confirm.amount:.2f} paid to {confirm.account}"


app.workflow(
    "refund",
    on={"ticket.created": Ticket},
    steps=[look, propose, Approval("confirm", of="propose", on_reject="fail"), pay],
)
