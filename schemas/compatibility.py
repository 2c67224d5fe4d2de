"""When a change of a schema breaks somebody, decided by comparing JSON Schemas.

Each message has two schemas: what is *written* (a field that is always there is required), and what
is *read* (a field that a writer may leave out has a default). Within a major version:

- To readers: whatever is written now, the old *written* schema allows. So no field goes away or
  becomes optional, no type widens, no enum gains a value.
- To writers: whatever the old *read* schema allowed is still read, and means the same. So no new
  field is required, no type narrows, no enum loses a value, no default changes.

Readers ignore fields that they do not know; a new optional field breaks nobody.
A comparison that this file cannot decide counts as broken: it may refuse a harmless change (then
write the schema the old way), it never passes a harmful one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
AnySchema = Schema | bool

_ANNOTATIONS = frozenset(("title", "description", "default", "examples", "$schema", "$id", "$defs"))
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_SAME = ("pattern", "format", "multipleOf", "uniqueItems", "propertyNames", "contentEncoding")
_SHAPE = ("properties", "required", "additionalProperties", "items", "prefixItems")
_KNOWN = frozenset(("type", "enum", "const", *_LOWER, *_UPPER, *_SAME, *_SHAPE))


@dataclass(frozen=True, slots=True)
class Contract:
    """One message as its writers and its readers know it: two JSON Schemas."""

    written: Schema
    read: Schema


def breaking(old: Mapping[str, Contract], new: Mapping[str, Contract]) -> list[str]:
    """What `new` breaks for who knows `old`, one sentence each; messages by name."""
    return [f"{name}: the message is gone" for name in old if name not in new] + [
        complaint
        for name, before in old.items()
        if (after := new.get(name)) is not None
        for complaint in (
            *(f"{why} (breaks readers)" for why in beyond(after.written, before.written, name)),
            *(f"{why} (breaks writers)" for why in beyond(before.read, after.read, name)),
            *(f"{why} (breaks writers)" for why in _other_defaults(before.read, after.read, name)),
        )
    ]


def beyond(narrow: Schema, wide: Schema, place: str) -> list[str]:
    """Why a value of `narrow` may not be one of `wide`; empty when all of them are."""
    compared = _Compared(narrow.get("$defs", {}), wide.get("$defs", {}), set())
    return list(dict.fromkeys(compared.beyond(narrow, wide, place)))


@dataclass(frozen=True, slots=True)
class _Compared:
    narrow_defs: Schema
    wide_defs: Schema
    seen: set[tuple[str, str]]

    def beyond(self, narrow: AnySchema, wide: AnySchema, place: str) -> Iterator[str]:
        """Resolve references, split alternatives, then compare keyword by keyword."""
        pair = (_ref(narrow), _ref(wide))
        if all(pair):
            if (
                pair in self.seen
            ):  # a model within itself: assumed right, as everything else is seen
                return
            self.seen.add(pair)
        one, other = _resolved(narrow, self.narrow_defs), _resolved(wide, self.wide_defs)
        if one is None or other == {}:
            return
        if other is None:
            yield f"{place}: {_shown(one)} instead of nothing"
        elif alternatives := one.get("anyOf"):
            for alternative in alternatives:
                yield from self.beyond(alternative, other, place)
        elif options := other.get("anyOf"):
            if not any(self._fits(one, option) for option in options):
                yield f"{place}: {_shown(one)} is none of {', '.join(map(_shown, options))}"
        else:
            yield from self._plain(one, other, place)

    def _fits(self, one: Schema, option: Schema) -> bool:
        fresh = _Compared(self.narrow_defs, self.wide_defs, set(self.seen))
        return not any(True for _ in fresh.beyond(one, option, ""))

    def _plain(self, one: Schema, other: Schema, place: str) -> Iterator[str]:
        if unknown := sorted((one.keys() | other.keys()) - _KNOWN):
            yield f"{place}: {', '.join(unknown)} cannot be compared"
            return
        yield from _types(one, other, place)
        yield from _values(one, other, place)
        yield from _limits(one, other, place)
        yield from self._fields(one, other, place)
        yield from self._elements(one, other, place)

    def _fields(self, one: Schema, other: Schema, place: str) -> Iterator[str]:
        had, has = other.get("properties", {}), one.get("properties", {})
        for name in other.get("required", ()):
            if name not in one.get("required", ()):
                yield f"{place}.{name}: not always there, though it must be"
        for name in had.keys() & has.keys():
            yield from self.beyond(has[name], had[name], f"{place}.{name}")
        for name in sorted(had.keys() - has.keys() - set(other.get("required", ()))):
            if "additionalProperties" in one:
                yield from self.beyond(one["additionalProperties"], had[name], f"{place}.{name}")
        if "additionalProperties" in other:
            rest = {name: each for name, each in has.items() if name not in had}
            rest["*"] = one.get("additionalProperties", "properties" not in one)
            for name, each in rest.items():
                yield from self.beyond(each, other["additionalProperties"], f"{place}.{name}")

    def _elements(self, one: Schema, other: Schema, place: str) -> Iterator[str]:
        firsts, others = one.get("prefixItems", ()), other.get("prefixItems", ())
        if len(firsts) != len(others):
            yield f"{place}: {len(firsts)} named elements instead of {len(others)}"
            return
        for at, (first, another) in enumerate(zip(firsts, others, strict=True)):
            yield from self.beyond(first, another, f"{place}[{at}]")
        if "items" in other:
            yield from self.beyond(one.get("items", True), other["items"], f"{place}[]")


def _ref(schema: AnySchema) -> str:
    return schema.get("$ref", "") if isinstance(schema, Mapping) else ""


def _resolved(schema: AnySchema, defs: Schema) -> Schema | None:
    """Without references and annotations; `{}` allows everything, `None` allows nothing."""
    if isinstance(schema, bool):
        return {} if schema else None
    if ref := _ref(schema):
        return _resolved(defs[ref.rpartition("/")[2]], defs)
    return {word: value for word, value in schema.items() if word not in _ANNOTATIONS}


def _kinds(schema: Schema) -> set[str]:
    """The JSON types that a schema names; empty when it names none."""
    kind = schema.get("type", ())
    kinds = {kind} if isinstance(kind, str) else set(kind)
    return kinds | ({"integer"} if "number" in kinds else set())


def _types(one: Schema, other: Schema, place: str) -> Iterator[str]:
    allowed = _kinds(other)
    if allowed and not (_kinds(one) and _kinds(one) <= allowed):
        yield f"{place}: {_shown(one)} instead of {_shown(other)}"


def _values(one: Schema, other: Schema, place: str) -> Iterator[str]:
    allowed = _enum(other)
    if allowed is None:
        return
    given = _enum(one)
    if given is None:
        yield f"{place}: any {_shown(one)} instead of one of {_shown(other)}"
        return
    if more := [value for value in given if value not in allowed]:
        yield f"{place}: {', '.join(map(repr, more))} beside {_shown(other)}"


def _enum(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _limits(one: Schema, other: Schema, place: str) -> Iterator[str]:
    for word in (*_LOWER, *_UPPER, *_SAME):
        if word not in other:
            continue
        mine, limit = one.get(word), other[word]
        within = mine == limit or (
            mine is not None and word not in _SAME and (mine > limit) == (word in _LOWER)
        )
        if not within:
            yield f"{place}: {word} {mine if mine is not None else 'open'} instead of {limit}"


def _shown(schema: Schema) -> str:
    if (values := _enum(schema)) is not None:
        return "/".join(map(str, values))
    if ref := _ref(schema):
        return ref.rpartition("/")[2]
    kind = schema.get("type", "anything")
    return kind if isinstance(kind, str) else "/".join(kind)


def _other_defaults(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Fields that mean something else now when a writer leaves them out."""
    defs = new.get("$defs", {})
    pairs = [(place, old, new)] + [
        (f"{place}/{name}", each, defs[name])
        for name, each in old.get("$defs", {}).items()
        if name in defs
    ]
    for where, before, after in pairs:
        for name, had in before.get("properties", {}).items():
            has = after.get("properties", {}).get(name)
            if has is None or "default" not in had or "default" not in has:
                continue  # gone or required now: the comparison of what is read says so
            if not _covers(has["default"], had["default"]):
                yield (
                    f"{where}.{name}: left out, it means {has['default']!r}"
                    f" instead of {had['default']!r}"
                )


def _covers(new: Any, old: Any) -> bool:
    """Whether a default is the old one, give or take fields that the old one did not have."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(name in new and _covers(new[name], value) for name, value in old.items())
    return bool(new == old) and isinstance(new, bool) == isinstance(old, bool)
