"""What passes between a worker and its children: JSON in frames, both ways.

A frame is its length (4 bytes, big end first) and that many bytes. The child says `READY` when it
is loaded, or what is wrong; a request is the task's data and results; its answer is the byte
`BEGAN` at once, then a frame of how it ended, and one of the output as JSON or of a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from struct import Struct
from typing import Any

from pydantic_core import from_json, to_json

from agents.delegation import Delegate, DelegateStep, asked_of
from agents.outcomes import Deferred, Done, Escalate, Failed, Halted, Retry, Verdict

READY = b"{}"
BEGAN = b"\x01"
LENGTH = Struct(">I")
HEAD_BYTES_MAX = 1_048_576
"""How a task ended, without its output; inputs of a delegation are the largest part."""
TRACEBACK_CHARS_MAX = 8_000

_PLAIN: dict[str, type[Failed | Retry | Deferred | Escalate]] = {
    "failed": Failed,
    "retry": Retry,
    "deferred": Deferred,
    "escalate": Escalate,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a task ended in a child."""

    verdict: Verdict
    raised: bool = False
    """By an error, of which the verdict is made."""
    traceback: str = ""


def framed(data: bytes) -> bytes:
    """Bytes as they travel."""
    return LENGTH.pack(len(data)) + data


def written(answer: Answer) -> bytes:
    """An answer as two frames."""
    verdict = answer.verdict
    head: dict[str, Any] = {"raised": answer.raised}
    body = answer.traceback.encode(errors="replace")
    match verdict:
        case Done(confidence=confidence, written=output):
            head |= {"done": {"confidence": confidence}}
            body = output or b"null"
        case Halted():
            head |= {"halted": asdict(verdict)}
        case Delegate():
            try:
                head |= {"delegate": [step.model_dump() for step in asked_of(verdict)]}
            except ValueError as error:
                head |= {"failed": asdict(Failed("invalid_delegation", str(error)))}
        case _:
            head |= {type(verdict).__name__.lower(): asdict(verdict)}
    return framed(to_json(head)) + framed(body)


def read(head: bytes, body: bytes) -> Answer:
    """The answer in two frames. Raises `ValueError` for what is none."""
    found = from_json(head)
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what came is wrong, not a caller
    raised = found.pop("raised", False) is True
    [(kind, fields)] = found.items()
    if kind == "done":
        return Answer(Done(from_json(body), fields["confidence"], body), raised)
    return Answer(_verdict(kind, fields), raised, body.decode(errors="replace"))


def _verdict(kind: str, fields: Any) -> Verdict:
    if kind == "delegate":
        return Delegate(*(DelegateStep(**_step(each)) for each in fields))
    if kind == "halted":
        return Halted(**{**fields, "trace": tuple(fields["trace"])})
    if kind not in _PLAIN:
        raise ValueError(f"{kind!r} is no ending")
    return _PLAIN[kind](**fields)


def _step(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("name", "agent", "input", "after")}
