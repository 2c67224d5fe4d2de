"""An app with an agent that computes in a process of its own, and one beside it."""

from __future__ import annotations

import os

from pydantic import BaseModel

from caseworks import App


class Numbers(BaseModel):
    """The data of an event: how far to count, and what to do then."""

    n: int
    then: str = ""


app = App("numbers")


@app.agent(runs_in="process", memory_max_mb=256, timeout_s=20.0)
def count(numbers: Numbers) -> dict[str, int]:
    """Compute, or die."""
    if numbers.then == "die":
        os._exit(9)
    return {"sum": sum(range(numbers.n)), "pid": os.getpid()}


@app.agent()
async def tell(numbers: Numbers, count: dict[str, int]) -> str:
    """On the event loop of the worker."""
    return f"{count['sum']} by {'another' if count['pid'] != os.getpid() else 'this'}"


app.workflow("count", on={"numbers": Numbers}, steps=[count, tell])
