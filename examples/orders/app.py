"""An order: reserve each line, ask above a limit, await the payment, write, then ship."""

from __future__ import annotations

from pydantic import BaseModel

from caseworks import (
    App,
    Approval,
    Delegate,
    DelegateStep,
    Loop,
    Map,
    PermanentError,
    Step,
    Wait,
)


class Line(BaseModel):
    """One article of an order."""

    sku: str
    quantity: int
    price: float


class Order(BaseModel):
    """The data of `order.placed`."""

    order_id: str
    customer: str
    lines: list[Line]


class Payment(BaseModel):
    """The data of `payment.received`."""

    amount: float


class Reservation(BaseModel):
    """Articles put aside."""

    sku: str
    quantity: int


class Quote(BaseModel):
    """What the customer pays."""

    amount: float


class Letter(BaseModel):
    """What the customer reads; `score` says how good it is."""

    text: str
    score: float


class Parcel(BaseModel):
    """A parcel that is ready, or on its way."""

    weight_kg: float
    tracking: str = ""


app = App("orders")


@app.agent(timeout_s=10)
async def reserve(line: Line) -> Reservation:
    """Put one line's articles aside."""
    if line.quantity > 100:
        raise PermanentError(f"{line.sku}: not so many in stock")
    return Reservation(sku=line.sku, quantity=line.quantity)


@app.agent(timeout_s=10)
async def release(order: Order, reserve: list[Reservation]) -> None:
    """Undo the reservations of a case that failed."""


@app.agent(timeout_s=10)
async def quote(order: Order, reserve: list[Reservation]) -> Quote:
    """What the reserved articles cost."""
    return Quote(amount=sum(line.price * line.quantity for line in order.lines))


@app.agent()
async def letter(order: Order, quote: Quote, letter: Letter | None) -> Letter:
    """Write to the customer, better each time; `letter` is the last draft."""
    if letter is None:
        return Letter(text=f"Your order {order.order_id} costs {quote.amount:.2f}.", score=0.5)
    return Letter(text=f"Dear {order.customer}, {letter.text}", score=letter.score + 0.3)


@app.agent()
async def ship(
    order: Order, reserve: list[Reservation], payment: Payment, letter: Letter
) -> Parcel | Delegate:
    """Leave it to others: the step ends with what the courier says."""
    return Delegate(
        DelegateStep("pack", agent=pack, input={"articles": [r.sku for r in reserve]}),
        DelegateStep("send", agent=courier, after=["pack"]),
    )


@app.agent()
async def pack(job: dict[str, list[str]]) -> Parcel:
    """Pack the articles."""
    return Parcel(weight_kg=0.5 * len(job["articles"]))


@app.agent()
async def courier(order: Order, pack: Parcel) -> Parcel:
    """Send the parcel."""
    return pack.model_copy(update={"tracking": f"T-{order.order_id}"})


app.workflow(
    "order",
    on={"order.placed": Order},
    steps=[
        Step(reserve, map=Map("data.lines", concurrency=5, items_max=100), undo=release),
        quote,
        Approval("confirm", of="quote", when="quote.amount > `1000`", on_reject="fail"),
        Wait(
            "payment.received",
            Payment,
            name="payment",
            timeout_s=172_800,
            after=["confirm"],
            on_timeout="fail",
        ),
        Step(letter, loop=Loop("output.score >= `0.8`", iterations_max=3, exhausted="accept")),
        ship,
    ],
    results={"completed": "order.shipped"},
    deadline_s=345_600,
)
