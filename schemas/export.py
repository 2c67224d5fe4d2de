"""Writes the wire contract for other languages, and says when it drifts or breaks.

`schemas/published/` is made from the models and kept in git: a JSON Schema per message and
`asyncapi.json`. `schemas/baseline/v<major>.json` is what the last release promised; it changes when
a release is cut, and `schemas.compatibility` says what may not change until then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from schemas import (
    alert,
    approval,
    asyncapi,
    case,
    commands,
    control,
    dead_letter,
    effect,
    event,
    fact,
    feedback,
    letter_audit,
    outcome,
    result,
    task,
)
from schemas.base import SCHEMA_MAJOR, Message
from schemas.compatibility import Contract, breaking

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI = "asyncapi.json"
_ID = f"urn:caseworks:schema:{SCHEMA_MAJOR}:"


@dataclass(frozen=True, slots=True)
class Published:
    """A message and which of its two schemas its file shows.

    `by_others`: services beside Caseworks write it, so the file says what they may leave out.
    `compact`: written without fields that hold their default.
    """

    name: str
    model: type[Message]
    by_others: bool = False
    compact: bool = False


MESSAGES: tuple[Published, ...] = (
    Published("event", event.Event, by_others=True),
    Published("task", task.Task),
    Published("outcome", outcome.Outcome, by_others=True),
    Published("progress", outcome.Progress, by_others=True),
    Published("opened", commands.Opened),
    Published("signal", commands.Signal, by_others=True),
    Published("decision", commands.Decision, by_others=True),
    Published("correlated", commands.Correlated),
    Published("listen", commands.Listen),
    Published("join", commands.Join),
    Published("leave", commands.Leave),
    Published("flocked", commands.Flocked),
    Published("retain", commands.RetainOutput),
    Published("recall", commands.RecallOutput),
    Published("cancel", commands.Cancel, by_others=True),
    Published("replay", commands.Replay, by_others=True),
    Published("drop", commands.Drop, by_others=True),
    Published("result", result.Result),
    Published("approval_requested", approval.ApprovalRequested),
    Published("approval_ended", approval.ApprovalEnded),
    Published("dead_letter", dead_letter.DeadLetter),
    Published("effect", effect.Effect, by_others=True),
    Published("feedback", feedback.Feedback, by_others=True),
    Published("fact_case", fact.CaseFact),
    Published("fact_decision", fact.DecisionFact),
    Published("fact_feedback", fact.FeedbackFact),
    Published("alert", alert.Alert),
    Published("letter_handled", letter_audit.LetterHandled),
    Published("letter_run", letter_audit.LetterRun),
    Published("control_open", control.OpenCases),
    Published("control_breaker", control.Breaker),
    Published("control_pause", control.Pause),
    Published("request_breaker", control.BreakerReport, by_others=True),
    Published("request_probe", control.ProbeWanted, by_others=True),
    Published("request_breaker_order", control.BreakerOrder, by_others=True),
    Published("request_pause_order", control.PauseOrder, by_others=True),
    Published("case", case.Case, compact=True),
    Published("case_closed", case.ClosedCase),
    Published("case_correlation", case.Correlation, compact=True),
    Published("case_flock", case.Flock, compact=True),
    Published("case_shelf", case.Shelf, compact=True),
    Published("case_position", case.Position),
)
"""Everything that travels, by the name of its file."""


class _Full(GenerateJsonSchema):
    """Written messages hold every field, so every field is required of them."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001
        return self.mode == "serialization" or super().field_is_required(field, total)


def contract(message: Published) -> Contract:
    """What is written and what is read of a message."""
    maker = GenerateJsonSchema if message.compact else _Full
    model = message.model
    return Contract(
        written=model.model_json_schema(mode="serialization", schema_generator=maker),
        read=model.model_json_schema(mode="validation"),
    )


def contracts(messages: Iterable[Published] = MESSAGES) -> dict[str, Contract]:
    """The contract of every message by name."""
    return {message.name: contract(message) for message in messages}


def files(
    channels: Sequence[asyncapi.Channel], more: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, str]:
    """The published files by name. `more` are payloads of an app's own, by message name."""
    schemas: dict[str, dict[str, Any]] = dict(more or {})
    for message in MESSAGES:
        both = contract(message)
        schemas[message.name] = dict(both.read if message.by_others else both.written)
    named = {
        f"{name}.json": {
            "$schema": DIALECT,
            "$id": _ID + name,
            **schema,
        }
        for name, schema in schemas.items()
    }
    documents = {**named, ASYNCAPI: asyncapi.document(channels, schemas)}
    return {name: _text(each) for name, each in sorted(documents.items())}


def export(
    folder: Path,
    channels: Sequence[asyncapi.Channel],
    more: Mapping[str, dict[str, Any]] | None = None,
) -> list[Path]:
    """Write the files and remove what is no longer published; returns the files that changed."""
    wanted = files(channels, more)
    folder.mkdir(parents=True, exist_ok=True)
    changed = [folder / line.partition(":")[0] for line in drift(folder, wanted)]
    for path in changed:
        if path.name in wanted:
            path.write_text(wanted[path.name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def check(
    folder: Path,
    channels: Sequence[asyncapi.Channel],
    more: Mapping[str, dict[str, Any]] | None = None,
) -> list[str]:
    """How the folder differs from the models; empty when it does not."""
    return drift(folder, files(channels, more))


def drift(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """A line per file, its name first: missing, out of date, or published no longer."""
    found = {path.name for path in folder.glob("*.json") if path.name in wanted or _ours(path)}
    return (
        [f"{name}: missing" for name in wanted if name not in found]
        + [
            f"{name}: out of date"
            for name, text in wanted.items()
            if name in found and (folder / name).read_text(encoding="utf-8") != text
        ]
        + [f"{name}: published no longer" for name in sorted(found - wanted.keys())]
    )


def _ours(path: Path) -> bool:
    """Whether an earlier export wrote it; nobody else's file is touched."""
    with path.open("rb") as file:
        return _ID.encode() in file.read(500)


def baseline_path(folder: Path) -> Path:
    """Where the promises of the current major version stand."""
    return folder / f"v{SCHEMA_MAJOR}.json"


def freeze(folder: Path) -> Path:
    """Promise the models as they are: at a release. Does not ask whether that breaks somebody."""
    path = baseline_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(
        _text({name: asdict(each) for name, each in contracts().items()}), encoding="utf-8"
    )
    return path


def broken_promises(folder: Path) -> list[str]:
    """What the models break of the baseline. Raises `FileNotFoundError` if there is none."""
    frozen = json.loads(baseline_path(folder).read_text(encoding="utf-8"))
    return breaking({name: Contract(**each) for name, each in frozen.items()}, contracts())


def _text(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
