"""One agent that wants the tasks of a subject in order, and works for a few milliseconds."""

from __future__ import annotations

import asyncio
from typing import Any

from caseworks import App

WORK_S = 0.005

app = App("ordered")


@app.agent(order_by="subject", in_flight_max=64)
async def keep(wanted: dict[str, Any]) -> str:
    await asyncio.sleep(WORK_S)
    return str(wanted["id"])


app.workflow("keeping", on={"keep.wanted": dict[str, Any]}, steps=[keep])
