"""The error tree, split by who must act.

CaseworksError
├── DeclarationError     the developer: an app, agent or workflow is declared wrongly
├── OperatorError        who runs it; `exit_code` is the process's
│   ├── SettingsError        a setting is missing or out of range
│   ├── SetupError           broker, topics or installation are not as needed
│   ├── UnreadDeletedError   retention has deleted what was not read yet
│   ├── ChangelogError       a record of the state cannot be read: its partition stands still
│   └── DuplicateNameError   a second live process runs under this name
├── PayloadError         the sender: a message that cannot be processed; `reason` is a stable word
├── StateLostError       the loop: what a store holds cannot be trusted; the changelog is read again
├── BrokerError          the loop: see `coordinator.transactional` for what it does
│   ├── RetriableError       repeat the same call
│   ├── AbortableError       abort the transaction, drop what it meant to change, seek back
│   ├── FencedError          this producer was replaced: one new producer and a restore
│   ├── UnstableError        an open transaction hides the answer: ask again later
│   └── FatalBrokerError     this process cannot go on
└── AgentError           the agent, or what it calls
    ├── TransientError       worth another try; may carry `retry_after_s`
    │   ├── DependencyOpenError  its breaker is open or its bulkhead full: the work is deferred
    │   │   └── EffectBusyError      another attempt may be making this call: the work is deferred
    │   └── NotDoneError         an effect's call says that nothing happened: it may be made again
    ├── PermanentError       no retry helps
    │   └── EffectUnknownError   a call was begun, and nobody knows whether it happened
    └── HaltedError          a limit stopped the agent; `trace` says what it did
"""

from __future__ import annotations


class CaseworksError(Exception):
    """Something went wrong in Caseworks.

    Args:
        message: What happened and where; the class's docstring when left out.
        hint: What to do about it, as a sentence or a command.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])
        self.hint = hint

    def __str__(self) -> str:
        """The message, and the hint behind it."""
        text = super().__str__()
        return f"{text} ({self.hint})" if self.hint else text


class DeclarationError(CaseworksError):
    """An app, agent or workflow is declared wrongly."""

    exit_code = 2


class OperatorError(CaseworksError):
    """The installation or its surroundings are not as needed."""

    exit_code = 3


class SettingsError(OperatorError):
    """A setting is missing or out of range."""


class SetupError(OperatorError):
    """Broker, topics or installation are not as needed."""


class ChangelogError(OperatorError):
    """A record of the state cannot be read."""


class UnreadDeletedError(OperatorError):
    """Retention has deleted records before this group read them."""


class DuplicateNameError(OperatorError):
    """A second live process runs under this name."""

    exit_code = 75


class PayloadError(CaseworksError):
    """A message cannot be processed."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class StateLostError(CaseworksError):
    """What the store of a partition holds cannot be trusted."""

    def __init__(self, message: str, *, partition: int) -> None:
        super().__init__(message)
        self.partition = partition


class BrokerError(CaseworksError):
    """The broker or the client library refused a call."""


class RetriableError(BrokerError):
    """The same call may succeed when repeated."""


class AbortableError(BrokerError):
    """The transaction must be aborted."""


class FencedError(BrokerError):
    """Another producer took this transactional id, or its transaction timed out."""


class UnstableError(BrokerError):
    """An open transaction hides the answer."""


class FatalBrokerError(BrokerError):
    """The client cannot go on; the process must restart."""


class AgentError(CaseworksError):
    """An agent could not do its work."""

    kind = "error"


class TransientError(AgentError):
    """The work may succeed on another try."""

    kind = "transient"

    def __init__(
        self, message: str = "", *, retry_after_s: float | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DependencyOpenError(TransientError):
    """A dependency's breaker is open or its bulkhead is full."""

    kind = "dependency_open"


class EffectBusyError(DependencyOpenError):
    """Another attempt may be making this call at this moment."""

    kind = "effect_claimed"


class NotDoneError(TransientError):
    """The call of an effect did not happen, for certain: it may be made again."""

    kind = "not_done"


class PermanentError(AgentError):
    """No retry helps."""

    kind = "permanent"


class EffectUnknownError(PermanentError):
    """The call of an effect was begun, and nobody knows whether it happened."""

    kind = "effect_unknown"


class HaltedError(AgentError):
    """A limit stopped the agent."""

    kind = "halted"

    def __init__(self, message: str = "", *, trace: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.trace = trace
