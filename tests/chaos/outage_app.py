"""One agent that asks a dependency by HTTP."""

from __future__ import annotations

import os
from typing import Any

from caseworks import App, Context
from events.errors import TransientError
from tests.chaos.dependency import ask

ADDRESS = os.environ.get("CHAOS_DEPENDENCY", "127.0.0.1:1")

app = App("outage")


@app.agent(calls=("crm",), timeout_s=10.0, in_flight_max=64)
async def look(wanted: dict[str, Any], context: Context) -> str:
    async with context.call("crm"):
        status = await ask(ADDRESS, f"/{wanted['id']}")
        if status >= 500:
            raise TransientError(str(status))
    return str(wanted["id"])


app.workflow("looking", on={"look.wanted": dict[str, Any]}, steps=[look])
