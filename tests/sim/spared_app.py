"""An app that degrades, coalesces and defers: what the checker is tested on for that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from pydantic import BaseModel

from agents.context import Context
from caseworks.app import App
from caseworks.nodes import Step
from events.errors import PermanentError
from schemas.base import instant
from schemas.event import Event

START_S = 1_700_000_000.0
"""Where the simulator's clock starts: 22:13:20 in UTC."""


class Question(BaseModel):
    text: str


app = App("spared")


@app.agent(timeout_s=10.0)
async def sort(question: Question) -> str:
    await asyncio.sleep(0.2)
    return question.text.split()[0]


@app.agent(timeout_s=10.0, calls=("model",))
async def think(question: Question, sort: str, ctx: Context) -> str:
    await asyncio.sleep(0.1)
    if ctx.tenant == "other":
        raise PermanentError("nothing comes to mind")
    return f"thought about {sort}"


@app.agent(timeout_s=10.0)
async def guess(question: Question, sort: str) -> str:
    raise PermanentError("never lucky")


@app.agent(timeout_s=10.0)
async def look_up(question: Question, sort: str) -> str:
    return f"looked up {sort}"


@app.agent(timeout_s=10.0)
def rules(question: Question, sort: str) -> str:
    return f"by the rules of {sort}"


@app.agent(timeout_s=10.0)
async def count(question: Question) -> int:
    return len(question.text)


app.workflow(
    "question",
    on={"question.asked": Question},
    steps=[
        sort,
        Step(
            think,
            attempts_max=2,
            fallback=[guess, look_up, "cache", rules, "escalate"],
            degrade_after_s=5.0,
        ),
    ],
    deadline_s=900.0,
    coalesce_by="data.text",
    coalesce_window_s=20.0,
)
app.workflow(
    "report",
    on={"report.wanted": Question},
    steps=[Step(count, on_dead_letter="fail")],
    deadline_s=600.0,
    off_peak="22:14-22:16",
)


def demo_events() -> Iterator[Event]:
    """Two tenants ask the same, and one of them twice."""
    asked = (("acme", "why is it dark"), ("acme", "why is it dark"), ("other", "why is it dark"))
    for number, (tenant, text) in enumerate((*asked, ("acme", "why is it dark"))):
        yield _event(f"q{number}", "question.asked", text, tenant=tenant)
    yield _event("r0", "report.wanted", "all of it", priority="deferred")


def _event(event_id: str, kind: str, text: str, **fields: str) -> Event:
    given = {"id": event_id, "source": "/tests", "type": kind, "data": {"text": text}, **fields}
    return Event.model_validate({"time": instant(START_S), **given})
