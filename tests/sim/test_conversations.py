"""Conversations under faults: events reach the cases that wait for them, whatever is killed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel

from caseworks import App, Approval, Step, Wait
from caseworks.simulation import Verdict, simulate
from events.memory import HARSH, QUIET, Faults
from schemas.base import instant
from schemas.event import Event

START = 1_700_000_000.0


class Ticket(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


app = App("conversations")


@app.agent()
async def greet(ticket: Ticket) -> Answer:
    return Answer(text=f"about {ticket.text}?")


@app.agent()
async def close(ticket: Ticket, approved: Ticket) -> Answer:
    return Answer(text=f"{ticket.text}: {approved.text}")


app.workflow(
    "talk",
    on={"talk.begun": Ticket},
    steps=[
        greet,
        Wait("talk.replied", Ticket, after=[greet], timeout_s=600, name="replied"),
        Approval("approved", of="replied", timeout_s=5, on_expiry="approve"),
        Step(close),
    ],
    deadline_s=1_000,
)


def said(kind: str, number: int) -> Event:
    return Event(
        id=f"{kind}-{number}",
        source="/chat",
        type=f"talk.{kind}",
        subject=f"T-{number}",
        time=instant(START + (kind == "replied")),
        data={"text": f"{kind} {number}"},
    )


EVENTS = [said(kind, number) for number in range(3) for kind in ("replied", "begun")]


STEADY = replace(HARSH, clock_jump=0.0, agent_fails=0.0)
"""All faults but those that are answered otherwise: agents that give up, clocks that jump."""


def run(seed: int, faults: Faults = STEADY) -> Verdict:
    return simulate(app, EVENTS, seed, faults=faults)


def answers(verdict: Verdict) -> dict[str, list[object]]:
    return {name: [r.output for r in found] for name, found in verdict.results.items()}


EXPECTED = {
    f"begun-{number}": [{"text": f"begun {number}: replied {number}"}] for number in range(3)
}


def test_a_reply_reaches_its_case_and_nobody_elses() -> None:
    assert answers(run(0, QUIET)) == EXPECTED


@pytest.mark.parametrize("seed", range(24))
def test_every_reply_reaches_its_case_once_whatever_is_killed(seed: int) -> None:
    verdict = run(seed)

    assert answers(verdict) == EXPECTED, verdict.run
    assert not verdict.refused
