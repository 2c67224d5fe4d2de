"""The trace that this very thread or task is part of, if OpenTelemetry is in use here at all."""

from __future__ import annotations

import sys

from events.trace_ids import traceparent_of


def current_traceparent() -> str | None:
    """The current span as a `traceparent`; `None` without one. Imports nothing."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:  # a span was current only if somebody had loaded it
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return traceparent_of(
        f"{context.trace_id:032x}", f"{context.span_id:016x}", sampled=context.trace_flags.sampled
    )
