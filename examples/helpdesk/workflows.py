"""The helpdesk as an app: the signatures are the graph, the modules beside this file the work.

    ticket.created         triage -> knowledge, customer? -> answer    -> ticket.resolved
    inventory.stock.low    demand -> supplier -> order                 -> inventory.order.proposed
    fraud.alert.triggered  score -> decide                             -> fraud.alert.decided

What a step is not sure of goes to a person: `….escalated`, with the suggestion and the reason.
"""

from __future__ import annotations

import asyncio

from caseworks import App, Context, ModelError, Step, TransientError
from examples.helpdesk import demo, fraud, inventory, model_triage
from examples.helpdesk.answer import compose
from examples.helpdesk.customers import look_up
from examples.helpdesk.fraud import FraudDecision, FraudScore, Payment
from examples.helpdesk.inventory import Demand, OrderProposal, StockLow, SupplierChoice
from examples.helpdesk.knowledge import search_for
from examples.helpdesk.tickets import Answer, Customer, Knowledge, Ticket, Triage
from examples.helpdesk.triage import calibration, triage_by_examples

STEP_DEADLINE_S = 60.0
TRIAGE_TIMEOUT_S = 20.0
# What is left of the triage's time after it is for the examples.
MODEL_TIMEOUT_S = 15.0

app = App("helpdesk")


@app.agent(calls=["model"], timeout_s=TRIAGE_TIMEOUT_S)
async def triage(ticket: Ticket, ctx: Context) -> Triage:
    """Name the intent: by a model if there is one, else and when it fails by nearest examples."""
    by_examples, neighbours = triage_by_examples(ticket)
    if not ctx.model.available:
        return by_examples
    try:
        async with asyncio.timeout(MODEL_TIMEOUT_S):
            said = await ctx.model.ask(
                model_triage.ModelTriage,
                prompt=model_triage.prompt(ticket, neighbours),
                system=model_triage.SYSTEM,
            )
    except (ModelError, TransientError, TimeoutError) as error:
        ctx.log.warning("model_failed", error=str(error), instead="nearest examples")
        return by_examples
    return model_triage.weigh(by_examples, said, neighbours)


@app.agent()
async def knowledge(ticket: Ticket, triage: Triage) -> Knowledge:
    """Find the articles that may answer it."""
    return search_for(ticket, triage)


@app.agent()
async def customer(ticket: Ticket, triage: Triage) -> Customer:
    """Find who wrote it."""
    return look_up(ticket, triage)


@app.agent()
async def answer(
    ticket: Ticket, triage: Triage, knowledge: Knowledge, customer: Customer | None
) -> Answer:
    """Compose the answer, or the suggestion for the person who will answer."""
    return compose(triage, knowledge, customer)


app.workflow(
    "ticket",
    on={demo.TICKET: Ticket},
    steps=[
        Step(triage, deadline_s=STEP_DEADLINE_S),
        Step(knowledge, deadline_s=STEP_DEADLINE_S),
        Step(customer, optional=True, deadline_s=STEP_DEADLINE_S),
        Step(answer, escalate_below=calibration().threshold, deadline_s=STEP_DEADLINE_S),
    ],
    results={"completed": "ticket.resolved", "escalated": "ticket.escalated"},
)


@app.agent()
async def demand(low: StockLow) -> Demand:
    """What leaves the shelf a day."""
    return inventory.demand_of(low, inventory.order_lines())


@app.agent()
async def supplier(low: StockLow, demand: Demand) -> SupplierChoice:
    """Who delivers in time, at the best price."""
    return inventory.choose_supplier(low, demand, inventory.suppliers())


@app.agent()
async def order(low: StockLow, demand: Demand, supplier: SupplierChoice) -> OrderProposal:
    """How much to order."""
    return inventory.propose_order(low, demand, supplier)


app.workflow(
    "inventory",
    on={demo.STOCK: StockLow},
    steps=[
        Step(demand, deadline_s=STEP_DEADLINE_S),
        Step(supplier, deadline_s=STEP_DEADLINE_S),
        Step(order, escalate_below=inventory.PROPOSE_FROM, deadline_s=STEP_DEADLINE_S),
    ],
    results={"completed": "inventory.order.proposed", "escalated": "inventory.order.escalated"},
)


@app.agent()
async def score(payment: Payment) -> FraudScore:
    """How probable fraud is."""
    return fraud.score_payment(payment, fraud.history())


@app.agent()
async def decide(payment: Payment, score: FraudScore) -> FraudDecision:
    """Hold, release, or leave it to a person."""
    return fraud.decide_payment(score)


app.workflow(
    "fraud",
    on={demo.PAYMENT: Payment},
    steps=[
        Step(score, deadline_s=STEP_DEADLINE_S),
        Step(decide, escalate_below=fraud.HOLD_FROM, deadline_s=STEP_DEADLINE_S),
    ],
    results={"completed": "fraud.alert.decided", "escalated": "fraud.alert.escalated"},
)
