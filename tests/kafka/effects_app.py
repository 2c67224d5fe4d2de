"""Refunds that are lines in a file, and agents that are killed at the worst moment, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from caseworks import App, Context, DidNotHappen, Happened

app = App("refunds")
FOLDER = Path(os.environ.get("EFFECTS_FOLDER", ""))
"""Where the outside world is."""


def paid(refund: str) -> int:
    """How often."""
    ledger = FOLDER / "paid"
    return ledger.read_text("utf-8").split().count(refund) if ledger.exists() else 0


def pay(refund: str) -> None:
    """Nothing undoes it."""
    with (FOLDER / "paid").open("a", encoding="utf-8") as ledger:
        ledger.write(f"{refund}\n")


def die_once(wanted: dict[str, Any], where: str) -> None:
    """End this process as a power cut does, the first time that this refund comes here."""
    mark = FOLDER / f"died-{wanted['id']}"
    if wanted["dies"] == where and not mark.exists():
        mark.touch()
        die()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process does not go on")


@app.agent()
async def refund(wanted: dict[str, Any], ctx: Context) -> str:
    async def call(key: str) -> str:
        pay(key)
        die_once(wanted, "after the call")
        return f"refunded {wanted['id']}"

    async def look(key: str) -> Happened | DidNotHappen:
        return Happened(f"refunded {wanted['id']}") if paid(key) else DidNotHappen()

    result: str = await ctx.effect("refund", call, reconcile=look, returns=str)
    die_once(wanted, "after its result")
    return result


@app.agent()
async def bare(wanted: dict[str, Any], ctx: Context) -> str:
    """The control arm: the same without a ledger."""
    pay(ctx.task_id)
    die_once(wanted, "after the call")
    return f"refunded {wanted['id']}"


app.workflow("refund", on={"refund.wanted": dict[str, Any]}, steps=[refund])
app.workflow("bare", on={"bare.wanted": dict[str, Any]}, steps=[bare])
