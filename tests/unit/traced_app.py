"""A small app whose agents do all that a trace shows: read two steps, fail once, make own spans."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from caseworks import App, Context, Step, TransientError

OWN = InMemorySpanExporter()
"""What the agents record themselves."""
_provider = TracerProvider(shutdown_on_exit=False)
_provider.add_span_processor(SimpleSpanProcessor(OWN))
_tracer = _provider.get_tracer("shop")


class Order(BaseModel):
    """The data of an order."""

    item: str


app = App("shop")


@app.agent()
async def triage(order: Order) -> str:
    """Look at it."""
    with _tracer.start_as_current_span("look"):
        return order.item


@app.agent(tries_max=1)
async def price(order: Order, triage: str, ctx: Context) -> float:
    """Fail once."""
    if ctx.attempt == 1:
        raise TransientError("not now")
    return 1.0


@app.agent()
def stock(order: Order, triage: str) -> int:
    """In a thread."""
    with _tracer.start_as_current_span("count"):
        return 3


@app.agent()
async def answer(order: Order, price: float, stock: int) -> str:
    """Join the two."""
    return f"{stock} at {price}"


app.workflow(
    "order",
    on={"order.placed": Order},
    steps=[triage, Step(price, backoff_s=0.01, backoff_s_max=0.02), stock, answer],
)
