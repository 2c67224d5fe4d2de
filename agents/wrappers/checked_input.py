"""A task's data and results as the types that the function declares."""

from __future__ import annotations

from pydantic import ValidationError

from agents.call import Call, Handler
from agents.outcomes import MESSAGE_CHARS_MAX, Failed, Verdict


def checked_input(inner: Handler) -> Handler:
    """Validate what the function is called with; what does not fit fails as `invalid_input`."""

    async def handle(call: Call) -> Verdict:
        try:
            call.arguments = call.agent.arguments(call.task, call.context)
        except ValidationError as error:
            text = explained(error)
            call.context.log.warning("input_refused", error=text)
            return Failed("invalid_input", text)
        return await inner(call)

    return handle


def explained(error: ValidationError) -> str:
    """A validation error without the values: they are the customer's, and may be long."""
    lines = [
        f"{'.'.join(str(part) for part in each['loc']) or error.title}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return f"{error.title}: {'; '.join(lines[:10])}"[:MESSAGE_CHARS_MAX]
