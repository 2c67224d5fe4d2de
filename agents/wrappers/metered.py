"""What an attempt cost, however it ends."""

from __future__ import annotations

from agents.call import Call, Handler
from agents.outcomes import Verdict


def metered(inner: Handler) -> Handler:
    """Put what the attempt spent into the call."""

    async def handle(call: Call) -> Verdict:
        try:
            return await inner(call)
        finally:
            call.usage = call.context.usage

    return handle
