"""Two workflows that nobody runs: their results are written by the test."""

from __future__ import annotations

from typing import Any

from caseworks import App, Step

app = App("counted")


@app.agent()
async def look(event: dict[str, Any]) -> dict[str, Any]:
    return event


app.workflow("alpha", on={"alpha.asked": dict}, steps=[Step(look)])
app.workflow("refund", on={"refund.asked": dict}, steps=[Step(look)])
