"""An output must be of its declared type, JSON without NaN, and within its size."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from agents.agent import Agent
from agents.call import Call, Handler
from agents.outcomes import Done, Failed, Verdict, text_of
from agents.wrappers.checked_input import explained


def checked_output(inner: Handler) -> Handler:
    """Turn the function's output into plain JSON data and its confidence.

    What does not fit fails as `invalid_output`, what is too large as `output_too_large`.
    """

    async def handle(call: Call) -> Verdict:
        verdict = await inner(call)
        if type(verdict) is not Done:
            return verdict
        found = checked(call.agent, verdict, call.services.limits.output_bytes_max)
        if type(found) is Failed:
            call.context.log.warning("output_refused", kind=found.kind, error=found.message)
        return found

    return handle


def checked(agent: Agent, done: Done, bytes_max: int) -> Done | Failed:
    """The output as its agent declares it, written as JSON."""
    adapter = agent.output
    try:
        value = adapter.validator.validate_python(done.output)
        written = adapter.serializer.to_json(value)
        if len(written) > bytes_max:
            return Failed("output_too_large", f"{len(written)} bytes, the limit is {bytes_max}")
        if b"null" in written:
            _refuse_nan(adapter.dump_python(value))
        output = from_json(written, allow_inf_nan=False)
    except ValidationError as error:
        return Failed("invalid_output", explained(error))
    except MemoryError as error:
        return Failed("memory", text_of(error))
    except Exception as error:  # noqa: BLE001 - serializers are the agent's code too
        return Failed("invalid_output", f"{type(error).__name__}: {text_of(error)}")
    confidence = done.confidence if done.confidence is not None else _confidence_in(value)
    if (
        not isinstance(confidence, (int, float))
        or isinstance(confidence, bool)
        or not math.isfinite(confidence)
        or not 0 <= confidence <= 1
    ):
        return Failed("invalid_output", f"confidence is {confidence!r}, not between 0 and 1")
    return Done(output, float(confidence), written)


def _refuse_nan(value: Any) -> None:
    """Raises `ValueError` for NaN and infinity, which pydantic would write as null."""
    from_json(to_json(value, inf_nan_mode="constants", fallback=str), allow_inf_nan=False)


def _confidence_in(value: Any) -> Any:
    """The output's own `confidence`; an output without one is sure."""
    found = (
        value.get("confidence") if isinstance(value, dict) else getattr(value, "confidence", None)
    )
    return 1.0 if found is None else found
