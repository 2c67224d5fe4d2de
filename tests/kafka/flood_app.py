"""An agent that takes 2 ms, for floods of tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from caseworks.app import App

app = App("flood")


@app.agent(in_flight_max=4)
async def look(note: dict[str, Any]) -> str:
    await asyncio.sleep(0.002)
    return str(note["n"])


app.workflow("looking", on={"note.taken": dict[str, Any]}, steps=[look])
