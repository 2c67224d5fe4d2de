"""What goes wrong with a language model."""

from __future__ import annotations

from events.errors import HaltedError, PermanentError, TransientError


class ModelError(PermanentError):
    """The model refused the call."""

    kind = "model"


class ModelUnavailable(ModelError):  # noqa: N818 - it is a state of the installation
    """No model is configured or installed."""

    kind = "model_unavailable"


class ModelAnswerError(ModelError):
    """The model's answer does not fit, also after it was told why."""

    kind = "model_answer"


class AnswerLostError(TransientError):
    """The request was sent and no usable answer came: nobody knows what it cost."""

    kind = "model_answer_lost"


class ToolMisuseError(HaltedError):
    """The model keeps calling tools that are not there, or wrongly, or the same one in vain."""

    kind = "tool_misuse"
