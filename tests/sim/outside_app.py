"""An app whose agents reach outside of the simulation; for the test of who is named."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

from pydantic import BaseModel

from caseworks.app import App


class Asked(BaseModel):
    what: str


app = App("outside")
NAP = time.sleep  # what must not be done is done here


@app.agent()
async def reach(asked: Asked) -> str:
    match asked.what:
        case "socket":
            socket.socket().close()
        case "process":
            subprocess.run([sys.executable, "-c", ""], check=True)  # noqa: ASYNC221 - that is it
        case "thread":
            threading.Thread(target=print).start()
        case "to_thread":
            await asyncio.to_thread(print)
        case "clock":
            return str(time.time())
        case "today":
            return str(datetime.now(UTC))
        case "sleep":
            NAP(0)
        case _:
            await asyncio.sleep(3600)
    return asked.what


app.workflow("ask", on={"asked": Asked}, steps=[reach])
