"""The events of a run: the app's own, those of a file, or made from the schemas of its data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from caseworks.app import App
from caseworks.demo.material import load_material
from events.errors import DeclarationError, SettingsError
from schemas.base import instant
from schemas.event import Event

EVENTS_A_RUN = 5
POOL_MAX = 60
START_S = 1_700_000_000.0
"""Where the simulator's clock starts."""


def events_for(app: App, target: str, file: Path | None) -> tuple[Event, ...]:
    """What runs choose from.

    Raises `SettingsError` for the file, `DeclarationError` when no event can be made.
    """
    if file is not None:
        return _of_file(file)
    try:
        demo = load_material(target).events
    except DeclarationError:
        return made_for(app)
    fields = ("type", "id", "source", "subject", "data")
    found = ({name: getattr(event, name) for name in fields} for event in demo)
    return tuple(_event(each) for each in islice(found, POOL_MAX))


def of_run(pool: Sequence[Event], seed: int) -> tuple[Event, ...]:
    """Five of them; the same for the same seed."""
    if len(pool) <= EVENTS_A_RUN:
        return tuple(pool)
    return tuple(Random(seed).sample(list(pool), EVENTS_A_RUN))


def made_for(app: App) -> tuple[Event, ...]:
    """Events of each type that the app takes, with data as its schemas describe it."""
    kinds = [(kind, plan.spec.data_schemas[kind]) for plan in app.plans for kind in plan.spec.on]
    count = -(-EVENTS_A_RUN // len(kinds))
    found = [
        _event({"type": kind, "id": f"{kind}-{n}", "subject": f"s{n % 2}", "data": data})
        for kind, schema in kinds
        for n in range(count)
        if _fits(app, kind, data := example_of(schema, Random(n)))
    ]
    missing = {kind for kind, _ in kinds} - {event.type for event in found}
    if missing:
        raise DeclarationError(
            f"no example of {', '.join(sorted(missing))} could be made from its schema",
            hint="give events with --events FILE, or define demo_events() beside the app",
        )
    return tuple(found)


def _fits(app: App, kind: str, data: Any) -> bool:
    try:
        app.data_types[kind].validate_python(data)
    except ValidationError:
        return False
    return True


def _event(given: Mapping[str, Any]) -> Event:
    return Event.model_validate({"source": "/check", "time": instant(START_S), **given})


def _of_file(file: Path) -> tuple[Event, ...]:
    """Raises `SettingsError`, with the line."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_event({"id": f"line-{number}", **json.loads(line)}))
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{file}, line {number}: {error}") from None
    if not found:
        raise SettingsError(f"{file} holds no event")
    return tuple(found)


# --- data from a schema


def example_of(  # noqa: C901, PLR0912 - a table
    schema: Mapping[str, Any], rng: Random, root: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Something that a JSON Schema describes, as pydantic writes them; kept small."""
    top = root or schema
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("examples"):
        return schema["examples"][0]
    if "enum" in schema:
        return rng.choice(list(schema["enum"]))
    if "$ref" in schema:
        return example_of(_resolved(schema["$ref"], top), rng, top)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return example_of(schema[word][0], rng, top)
    match schema.get("type"):
        case "object":
            return _object(schema, rng, top)
        case "array":
            return _array(schema, rng, top)
        case "string":
            return _text(schema, rng)
        case "integer":
            return round(_number(schema, rng))
        case "number":
            return _number(schema, rng)
        case "boolean":
            return rng.random() < 0.5
        case _:
            return None


def _resolved(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _object(schema: Mapping[str, Any], rng: Random, root: Mapping[str, Any]) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    needed = schema.get("required", ())
    return {name: example_of(properties[name], rng, root) for name in properties if name in needed}


def _array(schema: Mapping[str, Any], rng: Random, root: Mapping[str, Any]) -> list[Any]:
    parts: Iterable[Any] = schema.get("prefixItems", ())
    count = max(schema.get("minItems", 0), min(2, schema.get("maxItems", 2)))
    given = [example_of(part, rng, root) for part in parts]
    return given or [example_of(schema.get("items", {}), rng, root) for _ in range(count)]


_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "uuid": "12345678-1234-4234-8234-123456789abc",
    "email": "someone@example.test",
    "uri": "https://example.test/",
}


def _text(schema: Mapping[str, Any], rng: Random) -> str:
    known = _FORMATS.get(schema.get("format", ""))
    if known is not None:
        return known
    text = f"example {rng.randrange(1000)}"
    longest = schema.get("maxLength", len(text))
    return text.ljust(schema.get("minLength", 0), "x")[:longest]


def _number(schema: Mapping[str, Any], rng: Random) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    high = schema.get("maximum", low + 100)
    number: float = low + rng.randrange(int(max(high - low, 0)) + 1)
    step = schema.get("multipleOf")
    return number if step is None else step * -(-number // step)
