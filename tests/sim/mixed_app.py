"""An app that uses the whole workflow language in little: what the checker is tested on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from agents.context import Context
from caseworks.app import App
from caseworks.nodes import Approval, Loop, Map, Step, Wait
from schemas.base import instant
from schemas.event import Event


class Order(BaseModel):
    lines: list[int]
    price: int


class Note(BaseModel):
    text: str


class Text(BaseModel):
    text: str
    score: int = 0


app = App("mixed")


@app.agent(order_by="subject", timeout_s=10.0)
async def check(order: Order, ctx: Context) -> Text:
    ctx.iteration("looks")
    await asyncio.sleep(0.05)
    return Text(text=f"checked {order.price}")


@app.agent(timeout_s=10.0)
async def weigh(line: int) -> int:
    await asyncio.sleep(0.02 * line)
    return line * 2


@app.agent(timeout_s=10.0)
async def polish(order: Order, check: Text, polish: Text | None) -> Text:
    score = polish.score + 1 if polish is not None else 1
    return Text(text=check.text, score=score)


@app.agent(timeout_s=10.0)
async def reserve(order: Order, check: Text) -> Text:
    return Text(text="reserved")


@app.agent(timeout_s=10.0)
async def release(order: Order, reserve: Text) -> Text:
    return Text(text="released")


@app.agent(timeout_s=10.0)
async def gift(order: Order, check: Text) -> Text:
    return Text(text="ribbon")


@app.agent(timeout_s=10.0)
async def card(order: Order, check: Text) -> Text:
    return Text(text="card")


@app.agent(timeout_s=10.0)
async def charge(order: Order, reserve: Text, polish: Text) -> Text:
    return Text(text=f"charged {order.price}")


@app.agent(timeout_s=10.0)
async def refund(order: Order, charge: Text) -> Text:
    return Text(text="refunded")


@app.agent(timeout_s=10.0)
async def ship(order: Order, charge: Text, weigh: list[int], gift: Text | None) -> Text:
    return Text(text=f"{charge.text} for {sum(weigh)}")


app.workflow(
    "order",
    on={"order.placed": Order},
    steps=[
        Step(check, attempts_max=2),
        Step(weigh, map=Map("data.lines", concurrency=2), after=[check]),
        Step(polish, loop=Loop("output.score > `5`", iterations_max=3, exhausted="accept")),
        Step(reserve, undo=release),
        Step(gift, optional=True, fallback=card, deadline_s=25.0),
        Step(charge, undo=refund, on_dead_letter="fail", deadline_s=40.0),
        Step(ship, on_dead_letter="fail"),
    ],
)


@app.agent(order_by="subject", timeout_s=10.0)
def jot(note: Note) -> Text:
    return Text(text=note.text)


@app.agent(timeout_s=10.0)
def file(note: Note, jot: Text) -> Text:
    return Text(text=f"filed {jot.text}")


app.workflow(
    "note",
    on={"note.taken": Note},
    steps=[Step(jot, on_dead_letter="park", attempts_max=2, deadline_s=30.0), file],
    deadline_s=120.0,
)


@app.agent(timeout_s=10.0)
async def greet(note: Note) -> Text:
    return Text(text=f"hello {note.text}")


@app.agent(timeout_s=10.0)
async def unsay(note: Note, greet: Text) -> Text:
    return Text(text="unsaid")


@app.agent(timeout_s=10.0)
async def part(note: Note, talk_answered: Note | None, consent: Text | None) -> Text:
    return Text(text="" if talk_answered is None else talk_answered.text)


app.workflow(
    "talk",
    on={"talk.begun": Note},
    steps=[
        Step(greet, undo=unsay),
        Wait("talk.answered", Note, timeout_s=6.0, after=[greet], on_timeout="skip"),
        Approval("consent", of="greet", timeout_s=5.0, on_expiry="skip", on_reject="fail"),
        Step(part, on_dead_letter="fail"),
    ],
)


def demo_events() -> Iterator[Event]:
    """Five of one subject, so that the order matters."""
    given: list[tuple[str, dict[str, Any]]] = [
        ("order.placed", {"lines": [1, 2, 3], "price": 7}),
        ("note.taken", {"text": "one"}),
        ("talk.begun", {"text": "two"}),
        ("order.placed", {"lines": [1], "price": 9}),
        ("note.taken", {"text": "three"}),
    ]
    for number, (kind, data) in enumerate(given):
        yield Event(
            id=f"e{number}",
            source="/tests",
            type=kind,
            subject="s1" if number != 1 else "s2",
            time=instant(1_700_000_000.0),
            data=data,
        )
