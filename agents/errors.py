"""Errors of the worker process itself."""

from __future__ import annotations

from events.errors import OperatorError


class WorkerStuckError(OperatorError):
    """Agents hold this process and do not let go: it must be restarted.

    Raised when one blocks the event loop beyond its time, or when too many ignore cancellation.
    """

    exit_code = 70
