"""The workload of every benchmark: a 471-byte ticket through four agents that do nothing.

triage -> billing and kb side by side -> reply. `event` and the answers are those of the bare loop
in `bare.py`, so that both move the same bytes.
"""

# ruff: noqa: ARG001 - agents that do nothing still read what their step reads

from __future__ import annotations

from typing import Any

from caseworks import App

app = App("noop")

BODY = (
    "Hello, my card was charged twice for invoice 2026-03-118. Please refund the second charge "
    "and tell me how to stop this from happening again next month. Thank you, Jane."
)


def event(number: int) -> dict[str, Any]:
    """The data of event *number*."""
    return {
        "type": "ticket.created",
        "id": f"evt-{number:09d}",
        "tenant": "acme-emea",
        "ticket": {
            "id": f"T-{number:09d}",
            "channel": "email",
            "priority": "normal",
            "customer": "cust-004711",
            "subject": "Charged twice for the March invoice",
            "body": BODY,
            "tags": ["billing", "refund"],
            "lang": "en",
        },
        "ts": 1790000000.125,
    }


def said(role: str, case: str) -> dict[str, Any]:
    """What an agent that does nothing answers, about 130 bytes."""
    note = "no-op subtask result, padded to about 120 bytes"
    return {"case": case, "role": role, "verdict": "ok", "score": 0.87, "note": note}


@app.agent(in_flight_max=4000)
async def triage(ticket: dict[str, Any]) -> dict[str, Any]:
    """First step."""
    return said("triage", ticket["id"])


@app.agent(in_flight_max=4000)
async def billing(ticket: dict[str, Any], triage: dict[str, Any]) -> dict[str, Any]:
    """Beside kb."""
    return said("billing", triage["case"])


@app.agent(in_flight_max=4000)
async def kb(ticket: dict[str, Any], triage: dict[str, Any]) -> dict[str, Any]:
    """Beside billing."""
    return said("kb", triage["case"])


@app.agent(in_flight_max=4000)
async def reply(
    ticket: dict[str, Any], billing: dict[str, Any], kb: dict[str, Any]
) -> dict[str, Any]:
    """The join."""
    return said("reply", billing["case"])


app.workflow("noop", on={"ticket.created": dict[str, Any]}, steps=[triage, billing, kb, reply])
