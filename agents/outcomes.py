"""How an attempt ends: frozen data, and the one place that says which error means what."""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from agents.delegation import Delegate
from events.errors import DependencyOpenError, HaltedError, PermanentError, TransientError

MESSAGE_CHARS_MAX = 2000

# Errors of the operating system that another try does not change.
_PERMANENT_OS_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class Done(Struct, frozen=True, eq=False):
    """The work is done. Without `confidence` it is that of the output, else 1.0.

    A struct, because a fifth of what a busy worker makes are these.
    """

    output: Any
    confidence: float | None = None
    written: bytes | None = None
    """The output as JSON; put there when it is checked, and no part of what is compared."""

    def __eq__(self, other: object) -> bool:
        """Whether the same was said."""
        if not isinstance(other, Done):
            return NotImplemented
        return (self.output, self.confidence) == (other.output, other.confidence)

    __hash__ = None  # type: ignore[assignment] # an output may be anything


@dataclass(frozen=True, slots=True)
class Failed:
    """No retry helps. `kind` is a short stable word."""

    kind: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt may succeed; the coordinator says when."""

    kind: str
    message: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Halted:
    """A limit stopped the agent; `trace` is what it did last."""

    kind: str
    message: str = ""
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deferred:
    """A dependency is closed for now: the task comes back, no attempt is burnt."""

    kind: str
    message: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person must look at this case. An agent may return it instead of its output.

    Example: `return Escalate("the customer asks for a lawyer")`
    """

    reason: str


Verdict = Done | Failed | Retry | Halted | Deferred | Escalate | Delegate
VERDICTS: frozenset[type[Verdict]] = frozenset(
    (Done, Failed, Retry, Halted, Deferred, Escalate, Delegate)
)


def verdict_of(error: BaseException) -> Verdict:
    """What an exception means for the attempt."""
    match error:
        case HaltedError():
            return Halted(error.kind, text_of(error), error.trace)
        case DependencyOpenError():
            return Deferred(error.kind, text_of(error), error.retry_after_s)
        case TransientError():
            return Retry(error.kind, text_of(error), error.retry_after_s)
        case TimeoutError():
            return Retry("timeout", text_of(error))
        case OSError() if is_transient(error):
            return Retry("connection", text_of(error))
        case PermanentError():
            return Failed(error.kind, text_of(error))
        case MemoryError():
            return Failed("memory", f"it took more memory than it may: {text_of(error)}")
        case CancelledError():
            return Failed("cancelled", "it was cancelled by itself, not by the worker")
        case _:
            return Failed("exception", f"{type(error).__name__}: {text_of(error)}")


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed within this attempt.

    Time-outs, `TransientError`, and errors of the operating system that speak of the network or
    of resources (client libraries derive theirs from `OSError`); not an open dependency, whose
    work is deferred instead.
    """
    match error:
        case DependencyOpenError():
            return False
        case TransientError():
            return True
        case OSError():
            return not isinstance(error, _PERMANENT_OS_ERRORS)
        case _:
            return False


def text_of(error: BaseException) -> str:
    """An error for people, shortened; its type's name when it says nothing."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - an agent's __str__ may do anything
        text = f"{type(error).__name__} (its message raises {type(broken).__name__})"
    return (text or type(error).__name__)[:MESSAGE_CHARS_MAX]
