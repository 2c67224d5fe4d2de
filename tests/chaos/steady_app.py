"""One agent that takes a second, as if it waited for somebody else, for 2,000 tasks at once."""

from __future__ import annotations

import asyncio
from typing import Any

from caseworks import App

IN_FLIGHT_MAX = 2_000
LATENCY_S = 1.0

app = App("steady")


@app.agent(in_flight_max=IN_FLIGHT_MAX)
async def wait(wanted: dict[str, Any]) -> str:
    await asyncio.sleep(LATENCY_S)
    return str(wanted["id"])


app.workflow("waiting", on={"wait.wanted": dict[str, Any]}, steps=[wait])
