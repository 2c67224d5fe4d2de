"""Logs: JSON lines in processes, pretty in a terminal, case id and trace id in every line.

Every part takes its logger from `get_logger`; it writes through stdlib logging, so that an
application which embeds a part sees its lines like any other library's. `configure` is for the
processes of Caseworks: it routes all of stdlib logging and structlog into one handler.
What comes from outside cannot forge a line or drive a terminal: control characters are written as
escapes, secrets as `***`, and long texts are cut.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from events.trace_ids import read_traceparent, trace_id_for

TEXT_CHARS_MAX = 8192
ITEMS_MAX = 100
DEPTH_MAX = 6
HIDDEN = "***"

# `tokens_in` is a count; `token`, `api_token` and `sasl.password` are secrets.
_SECRET_NAME = re.compile(
    r"(^|[_.\-])(password|passwd|secret|token|api_?key|authorization|credentials?|cookie)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<before>\bBearer\s+|://[^/\s:@]*:|\b(?:password|secret|api_?key|token)=)"
    r"(?P<secret>[^\s,;&@'\"]+)|\bsk-[A-Za-z0-9_\-]{16,}",
    re.IGNORECASE,
)
# C0, DEL and C1 controls, line separators, and marks that turn the direction of text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROL_BUT_LINES = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))

Fields = MutableMapping[str, Any]

_case: ContextVar[tuple[str, str | None] | None] = ContextVar("caseworks_case", default=None)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger with key-value arguments: `log.warning("task_dead", agent="triage")`."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *_ALWAYS, *_TO_STDLIB],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


@contextmanager
def bind(case_id: str | None = None, trace_id: str | None = None) -> Iterator[None]:
    """Put case id and trace id into every line of this thread or task, until the end of `with`."""
    named = {"case_id": case_id, "trace_id": trace_id}
    known = {name: value for name, value in named.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def bind_case(case_id: str, traceparent: str | None) -> None:
    """Put a case and its trace into every line of the current context, until another is bound.

    For work that runs in a context of its own; a tenth of the time of `bind`. The trace id of an
    event without a `traceparent` is the one that its spans have, made when a line is written.
    """
    _case.set((case_id, traceparent))


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id in a W3C `traceparent`; `None` if there is none."""
    found = read_traceparent(traceparent)
    return found.trace_id if found else None


def configure(
    *, level: str = "info", pretty: bool | None = None, stream: TextIO | None = None, **every: str
) -> None:
    """Send all logs of this process to `stream` (default: stderr); may be called again.

    `pretty` defaults to whether the stream is a terminal. `every` stands in each line: role,
    instance, agent.
    """
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        _formatter(out, pretty=out.isatty() if pretty is None else pretty, **every)
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_ALWAYS, *_TO_STDLIB],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def clean(value: Any, depth: int = DEPTH_MAX) -> Any:
    """A value fit for a log: no control characters, no secrets, bounded in size and depth."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _text(value, _CONTROL)
        case Mapping() if depth > 0:
            pairs = [pair for pair, _ in zip(value.items(), range(ITEMS_MAX), strict=False)]
            return {_text(str(key), _CONTROL): _value(str(key), each, depth) for key, each in pairs}
        case list() | tuple() | set() | frozenset() if depth > 0:
            return [
                clean(each, depth - 1) for each, _ in zip(value, range(ITEMS_MAX), strict=False)
            ]
        case _:
            return _text(repr(value), _CONTROL)


def _value(name: str, value: Any, depth: int) -> Any:
    return HIDDEN if _SECRET_NAME.search(name) else clean(value, depth - 1)


def _text(text: str, control: re.Pattern[str]) -> str:
    cut = text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}… ({len(text)} chars)"
    plain = control.sub(lambda found: found[0].encode("unicode_escape").decode(), cut)
    return _SECRET_TEXT.sub(lambda found: (found["before"] or "") + HIDDEN, plain)


def _add_case(_logger: object, _method: str, fields: Fields) -> Fields:
    """Processor: the case that `bind_case` put into this context."""
    bound = _case.get()
    if bound is not None:
        case_id, traceparent = bound
        fields.setdefault("case_id", case_id)
        fields.setdefault("trace_id", trace_id_for(case_id, traceparent))
    return fields


def _clean_line(_logger: object, _method: str, fields: Fields) -> Fields:
    """Processor: `clean` for the whole line; a traceback keeps its line ends."""
    traceback = fields.pop("exception", None)
    line: Fields = {
        _text(name, _CONTROL): HIDDEN if _SECRET_NAME.search(name) else clean(value)
        for name, value in fields.items()
        if name[:1] != "_"
    }
    if traceback is not None:
        line["exception"] = _text(str(traceback), _CONTROL_BUT_LINES)
    return line


_ALWAYS: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    _add_case,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
_TO_STDLIB: tuple[structlog.typing.Processor, ...] = (
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
)


def _formatter(out: TextIO, *, pretty: bool, **every: str) -> logging.Formatter:
    def add_every(_logger: object, _method: str, fields: Fields) -> Fields:
        return {**every, **fields}

    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if pretty
        else structlog.processors.JSONRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_ALWAYS, structlog.stdlib.ExtraAdder()],
        processors=[add_every, structlog.processors.format_exc_info, _clean_line, render],
    )
