"""Caseworks under the benchmark: a ticket through four agents that do nothing.

triage -> billing and kb side by side -> reply, with the answers of `workload`, as in `bare`.
"""

# ruff: noqa: ARG001 - agents that do nothing still read what their step reads

from __future__ import annotations

from typing import Any

from benchmarks.workload import said
from caseworks import App

app = App("noop")


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
