"""Four agents in four workflows; `a` does whatever harm its event says, the others work.

Harm that ends the process is done once for each event, so that what is told is how its neighbours
fare and not how often a supervisor starts it again; `poison` ends it each time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from caseworks import App, Step

HOUR_S = 3600.0
LEAK_BYTES = 32 << 20
LEAKED_MAX = 100
"""Leaks before the process ends by itself, where nothing limits its memory."""
MARKS = Path(os.environ.get("CASEWORKS_DATA_DIR", ".caseworks")) / "marks"

app = App("bulkheads")
leaked: list[bytearray] = []


def once(event_id: str, harm: Callable[[], Any]) -> None:
    """Do it unless it was done before for this event."""
    MARKS.mkdir(parents=True, exist_ok=True)
    mark = MARKS / event_id
    if not mark.exists():
        mark.touch()
        harm()


def block() -> None:
    """Stand in everybody's way."""
    until = time.monotonic() + HOUR_S
    while time.monotonic() < until:
        time.sleep(1.0)


def die() -> NoReturn:
    os._exit(1)


async def harm(what: str, event_id: str) -> None:
    match what:
        case "hang":
            await asyncio.sleep(HOUR_S)
        case "block":
            once(event_id, block)
        case "raise":
            raise ValueError("it broke")
        case "leak":
            leaked.append(bytearray(LEAK_BYTES))
            if len(leaked) > LEAKED_MAX:
                os._exit(137)
        case "die":
            once(event_id, die)
        case "poison":
            die()
        case "exit":
            sys.exit(1)
        case _:
            pass


@app.agent(timeout_s=1.0, tries_max=1, in_flight_max=256)
async def a(wanted: dict[str, Any]) -> str:
    await harm(wanted["do"], wanted["id"])
    return str(wanted["id"])


@app.agent(in_flight_max=1000)
async def b(wanted: dict[str, Any]) -> str:
    return str(wanted["id"])


@app.agent(in_flight_max=1000)
async def c(wanted: dict[str, Any]) -> str:
    return str(wanted["id"])


@app.agent(in_flight_max=1000)
async def d(wanted: dict[str, Any]) -> str:
    return str(wanted["id"])


for agent in (a, b, c, d):
    app.workflow(
        agent.__name__,
        on={f"{agent.__name__}.wanted": dict[str, Any]},
        steps=[Step(agent, attempts_max=2, backoff_s=0.2)],
    )
