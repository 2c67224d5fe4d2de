"""Two steps: `find` works, `reply` is broken until somebody mends it. Both tell the dependency."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from caseworks import App
from events.errors import PermanentError
from tests.chaos.dependency import ask

ADDRESS = os.environ.get("CHAOS_DEPENDENCY", "127.0.0.1:1")
MENDED = Path(os.environ.get("CASEWORKS_DATA_DIR", ".caseworks")) / "mended"

app = App("letters")


@app.agent(in_flight_max=256)
async def find(wanted: dict[str, Any]) -> str:
    await ask(ADDRESS, f"/find/{wanted['id']}")
    return str(wanted["id"])


@app.agent(in_flight_max=256)
async def reply(wanted: dict[str, Any], find: str) -> str:
    if not MENDED.exists():
        raise PermanentError("it is broken")
    await ask(ADDRESS, f"/reply/{find}")
    return find


app.workflow("replying", on={"reply.wanted": dict[str, Any]}, steps=[find, reply])
