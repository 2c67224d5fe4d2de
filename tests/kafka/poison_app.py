"""Agents that hang, or kill their process: the app of worker processes under test."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from caseworks.app import App

HANGS, KILLS = "hangs", "kills"


class Parcel(BaseModel):
    name: str


app = App("poison")


def wrote(name: str) -> None:
    """Tell the test that it starts."""
    with Path(os.environ["POISON_STARTS"]).open("a") as starts:
        starts.write(f"{name}\n")


@app.agent(timeout_s=60.0, in_flight_max=1000)
async def sort(parcel: Parcel) -> str:
    if parcel.name == HANGS:
        await asyncio.Event().wait()
    return ""


@app.agent(timeout_s=10.0, in_flight_max=8)
async def weigh(parcel: Parcel) -> str:
    wrote(parcel.name)
    await asyncio.sleep(0.005)
    if parcel.name == KILLS:
        os._exit(9)
    await asyncio.sleep(0.02)
    return parcel.name


app.workflow("sorting", on={"parcel.sorted": Parcel}, steps=[sort])
app.workflow("weighing", on={"parcel.came": Parcel}, steps=[weigh])
