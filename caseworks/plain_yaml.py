"""YAML as plain data: one document of mappings, lists and scalars, with the line of each.

Stricter than YAML on purpose, and bounded before anything is built: no tags, anchors or aliases
(a few bytes of them stand for gigabytes), no key twice, no deep nesting. Scalars follow YAML 1.2's
core schema: `on`, `yes` and `12:30` are text, as they look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

DEPTH_MAX = 20
VALUES_MAX = 100_000

Place = tuple[str | int, ...]
"""The way to a value: keys and indexes."""


class YamlTextError(ValueError):
    """The text is not what we take; `line` counts from 1."""

    def __init__(self, text: str, line: int = 1) -> None:
        super().__init__(text)
        self.line = line


def parse(text: str) -> tuple[Any, dict[Place, int]]:
    """The value of a document, and the line of every part of it. Raises `YamlTextError`."""
    reader = _Reader(text)
    try:
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        told = f"column {column}: {error.problem or error.context}"
        hint = ": indent with spaces" if _begins_with_tab(text, line) else ""
        raise YamlTextError(told + hint, line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlTextError(f"a character that is no text: {error.reason}", line) from None


class _Reader:
    """Builds values from the parser's events: nothing grows that was not counted."""

    def __init__(self, text: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self._count = 0
        self.lines: dict[Place, int] = {}

    def document(self) -> Any:
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _at(after, "a second document begins: one file holds one")
        return value

    def _value(self, event: Any, place: Place) -> Any:
        self._count += 1
        if self._count > VALUES_MAX:
            raise _at(event, f"more than {VALUES_MAX} values")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _at(event, "anchors and aliases are not taken: write it out")
        if event.tag is not None:
            raise _at(event, f"the tag {event.tag!r} is not taken: remove it")
        if len(place) > DEPTH_MAX:
            raise _at(event, f"nested more than {DEPTH_MAX} deep")
        self.lines[place] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items = self._until(yaml.SequenceEndEvent)
            return [self._value(item, (*place, index)) for index, item in enumerate(items)]
        return self._mapping(place)

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in self._until(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise _at(key, "a key that is no plain text")
            if key.value in found:
                before = self.lines[(*place, key.value)]
                raise _at(key, f"key {key.value!r} stands twice, before in line {before}")
            found[key.value] = self._value(next(self._events), (*place, key.value))
            self.lines[(*place, key.value)] = _line(key)
        return found

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event


def _begins_with_tab(text: str, line: int) -> bool:
    return any(re.match(r" *\t", each) for each in text.split("\n")[line - 1 : line + 1])


def _scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _at(event: Any, text: str) -> YamlTextError:
    return YamlTextError(text, _line(event))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


_INT = re.compile(r"[-+]?\d{1,30}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d{1,30}|\d{1,30}(\.\d{0,30})?)([eE][-+]?\d{1,5})?", re.ASCII)
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
