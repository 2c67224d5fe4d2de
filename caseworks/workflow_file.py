"""Workflows as YAML files: the same model as in Python, read strictly and told with line numbers.

```yaml
name: order
on:
  order.placed: shop.models:Order
steps:
  price:
    agent: price
  confirm:
    after: [price]
    when: price.total > `1000`
    approval: {of: price}
```

The wire ignores fields that it does not know; a file may not hold any: they are misspelt.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agents.signature import holds_data
from caseworks.plain_yaml import Place, YamlTextError, parse
from coordinator.workflow_problems import problems_of
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import ApprovalSpec, LoopSpec, MapSpec, StepSpec, WaitSpec, WorkflowSpec

FILE_BYTES_MAX = 1024 * 1024
PROBLEMS_MAX = 20

_TOP = frozenset(WorkflowSpec.model_fields) - {"data_schemas"}
_STEP = frozenset(StepSpec.model_fields)
_PARTS: Mapping[str, type[BaseModel]] = {
    "map": MapSpec,
    "loop": LoopSpec,
    "wait": WaitSpec,
    "approval": ApprovalSpec,
}


class WorkflowFileError(DeclarationError):
    """A workflow file cannot be read; `problems` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - PROBLEMS_MAX
        told = [*self.problems[:PROBLEMS_MAX], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("; ".join(told))


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """What a file says."""

    path: str
    spec: WorkflowSpec
    """Without `data_schemas`: the models are not loaded yet."""
    on: Mapping[str, str | None]
    """The model of the data (`module:Model`) of each event type that opens a case."""
    awaited: Mapping[str, str]
    """The same of event types that steps wait for."""
    untimed: frozenset[str]
    """Steps without a `timeout_s` of their own: that of their agent holds."""
    lines: Mapping[Place, int] = field(repr=False)

    def with_limits_of(self, agents: Mapping[str, AgentSpec]) -> WorkflowSpec:
        """The workflow with the run times of its agents where it gives none of its own."""
        return self.spec.model_copy(
            update={
                "steps": tuple(
                    step.model_copy(update={"timeout_s": agents[step.agent or ""].timeout_s})
                    if step.name in self.untimed and step.agent in agents
                    else step
                    for step in self.spec.steps
                )
            }
        )

    def problems(self, agents: Mapping[str, AgentSpec] | None) -> tuple[str, ...]:
        """What is wrong with the workflow, with lines; `None`: the agents are not known."""
        return tuple(self._located(problem) for problem in problems_of(self.spec, agents))

    def load_on(self) -> dict[str, Any]:
        """The types of the data of opening events. Imports modules; raises `DeclarationError`."""
        return {
            event_type: self._load(target, ("on", event_type)) if target else dict[str, Any]
            for event_type, target in self.on.items()
        }

    def load_awaited(self) -> dict[str, Any]:
        """The types of the data of awaited events, where the file names one."""
        return {name: self._load(target, ("steps",)) for name, target in self.awaited.items()}

    def _load(self, target: str, place: Place) -> Any:
        module, _, name = target.partition(":")
        where = f"{self.path}:{_line(self.lines, place)}: {target!r}"
        if not module or not name:
            raise DeclarationError(f"{where} is no model: write module:Model, as in shop.app:Order")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise DeclarationError(f"{where} cannot be imported: {error}") from None
        if not holds_data(found):
            raise DeclarationError(f"{where} is no model, but {type(found).__name__}: name one")
        return found

    def _located(self, problem: str) -> str:
        named = re.match(r"step '(\w+)'", problem)
        place = ("steps", named.group(1)) if named else ()
        return f"{self.path}:{_line(self.lines, place)}: {problem}"


def read_workflow(path: Path) -> WorkflowFile:
    """Read and validate a file; nothing is imported. Raises `WorkflowFileError`."""
    shown = str(path)
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise WorkflowFileError([f"{shown}: cannot be read: {error.strerror}"]) from None
    if len(body) > FILE_BYTES_MAX:
        raise WorkflowFileError([f"{shown}: larger than {FILE_BYTES_MAX} bytes: split it"])
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        told = f"{shown}: no text in UTF-8 (byte {error.start}): is it a binary file?"
        raise WorkflowFileError([told]) from None
    return parse_workflow(text, shown)


def parse_workflow(text: str, path: str = "workflow") -> WorkflowFile:
    """The workflow of a text; *path* names it in messages. Raises `WorkflowFileError`."""
    try:
        value, lines = parse(text)
    except YamlTextError as error:
        raise WorkflowFileError([f"{path}:{error.line}: {error}"]) from None
    if value is None:
        raise WorkflowFileError([f"{path}: it is empty: begin with `name`, `on` and `steps`"])
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise WorkflowFileError([f"{path}:1: it is a {kind}, not a mapping of keys to values"])
    found = [*_misspelt(value), *_without_model(value)]
    given = _as_spec(value)
    try:
        # As JSON and strictly: text is no number here, and `true` is no second.
        spec = WorkflowSpec.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        found += _refused(error, value.get("steps"))
    if found:
        told = sorted((_line(lines, place), text) for place, text in found)
        raise WorkflowFileError(f"{path}:{line}: {text}" for line, text in told)
    untimed = frozenset(s["name"] for s in given["steps"] if s.get("timeout_s") is None)
    awaited = {wait["event"]: wait["data"] for _, wait in _waits_of(value) if "data" in wait}
    return WorkflowFile(path, spec, value["on"], awaited, untimed, lines)


Problem = tuple[Place, str]


def _misspelt(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys that mean nothing."""
    yield from _unknown(value, _TOP, ())
    steps = value.get("steps")
    named = isinstance(steps, dict)
    for key, step in _steps_of(steps):
        place = ("steps", key)
        if not isinstance(step, dict):
            continue
        yield from _unknown(step, _STEP - {"name"} if named else _STEP, place)
        for part, model in _PARTS.items():
            if isinstance(step.get(part), dict):
                more = {"data"} if part == "wait" else set()
                yield from _unknown(step[part], more.union(model.model_fields), (*place, part))


def _unknown(value: Mapping[str, Any], known: Iterable[str], place: Place) -> Iterator[Problem]:
    names = sorted(known)
    for key in value:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"use {', '.join(names)}"
            yield (*place, key), f"{_dotted((*place, key))}: unknown key: {hint}"


def _steps_of(steps: Any) -> list[tuple[str | int, Any]]:
    if isinstance(steps, dict):
        return list(steps.items())
    return list(enumerate(steps)) if isinstance(steps, list) else []


def _waits_of(value: Mapping[str, Any]) -> list[tuple[Place, dict[str, Any]]]:
    return [
        (("steps", key, "wait"), step["wait"])
        for key, step in _steps_of(value.get("steps"))
        if isinstance(step, dict) and isinstance(step.get("wait"), dict)
    ]


def _without_model(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Where the model of an event's data should stand, and does not."""
    opening = value.get("on")
    if opening is not None and not isinstance(opening, dict):
        yield ("on",), "on: write a mapping of event types to module:Model, or to nothing"
    for event_type, target in opening.items() if isinstance(opening, dict) else ():
        if target is not None and not isinstance(target, str):
            where = ("on", event_type)
            yield where, f"{_dotted(where)}: write module:Model, or nothing"
    known: dict[Any, Any] = {}
    for step, wait in _waits_of(value):
        if "data" in wait:
            target, place = wait["data"], (*step, "data")
            told = f"{_dotted(place)} is {json.dumps(target)}"
            if not isinstance(target, str):
                yield place, f"{told}: write module:Model"
            elif (other := known.setdefault(str(wait.get("event")), target)) != target:
                yield place, f"{told}: another step says {other!r}: make them the same"


def _as_spec(value: Mapping[str, Any]) -> dict[str, Any]:
    """The file as `WorkflowSpec` has it."""
    given = dict(value)
    if isinstance(given.get("on"), dict):
        given["on"] = list(given["on"])
    if isinstance(given.get("steps"), dict):
        given["steps"] = [
            {"name": name, **(step or {})} if isinstance(step, dict) or step is None else step
            for name, step in given["steps"].items()
        ]
    return given


def _refused(error: ValidationError, steps: Any) -> Iterator[Problem]:
    keys = [key for key, _ in _steps_of(steps)]
    told: set[Place] = set()
    for each in error.errors(include_url=False):
        place: Place = each["loc"]
        if len(place) > 1 and place[0] == "steps":
            place = ("steps", keys[int(place[1])], *place[2:])
        if len(place) > 3 and place[0] == "steps" and place[2] == "fallback":
            place = place[:3]  # which of its forms it is not
            if place in told:
                continue
        told.add(place)
        if each["type"] == "missing":
            yield place, f"{_dotted(place)} is missing"
        else:
            shown = json.dumps(each["input"])
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            yield place, f"{_dotted(place)} is {shown}: {each['msg']}"


def _line(lines: Mapping[Place, int], place: Place) -> int:
    """The line of a place, or of what holds it."""
    while place not in lines and place:
        place = place[:-1]
    return lines.get(place, 1)


def _dotted(place: Place) -> str:
    """A place as people read it; nothing in it drives a terminal."""
    text = ".".join(str(part) for part in place)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
