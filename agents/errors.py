"""Errors of the worker process itself."""

from __future__ import annotations

from events.errors import OperatorError


class WorkerStuckError(OperatorError):
    """Agents hold this process and do not let go: it must be restarted.

    Raised when one blocks the event loop beyond its time, or when too many ignore cancellation.

    Args:
        message: What happened.
        hint: What to do about it.
        answered: Whether the tasks that did it are answered, so that no other one is to blame.
    """

    exit_code = 70

    def __init__(self, message: str = "", *, hint: str = "", answered: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.answered = answered
