from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, create_model

from schemas.base import Instant, Message, Name
from schemas.compatibility import beyond, breaking
from schemas.export import Published, contract, contracts


class Inner(Message):
    x: int
    y: str = ""


class Usage(Message):
    calls: int = 0


class UsageMore(Message):
    calls: int = 0
    tokens: int = 0


def change(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What breaks when a message with the fields `old` gets the fields `new`."""
    return breaking(
        {"m": contract(Published("m", create_model("M", __base__=Message, **old)))},
        {"m": contract(Published("m", create_model("M", __base__=Message, **new)))},
    )


INT, TEXT = (int, ...), (str, ...)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": INT}, {"a": INT}),
        ({"a": INT}, {"a": INT, "b": (int, 0)}),
        ({"a": INT}, {"a": INT, "b": (Inner | None, None)}),
        ({"a": (Usage, Usage())}, {"a": (UsageMore, UsageMore())}),
        ({"a": (Any, None)}, {"a": (Any, None)}),
        ({"a": (dict[str, Any], ...)}, {"a": (dict[str, Any], ...)}),
        ({"a": (tuple[int, str], ...)}, {"a": (tuple[int, str], ...)}),
    ],
)
def test_additive_changes_break_nobody(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert change(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ({"a": INT, "b": (int, 0)}, {"a": INT}, r"m\.b: not always there.*breaks readers"),
        ({"a": INT}, {"a": INT, "b": INT}, r"m\.b: not always there.*breaks writers"),
        ({"a": (int, 0)}, {"a": INT}, r"m\.a: not always there.*breaks writers"),
        ({"a": INT}, {"a": TEXT}, r"m\.a: string instead of integer \(breaks readers"),
        ({"a": INT}, {"a": (float, ...)}, r"m\.a: number instead of integer \(breaks readers"),
        ({"a": (float, ...)}, {"a": INT}, r"m\.a: number instead of integer \(breaks writers"),
        ({"a": INT}, {"a": (int | None, ...)}, r"m\.a: null instead of integer"),
        ({"a": (int | None, ...)}, {"a": INT}, r"m\.a: null instead of integer \(breaks writers"),
        ({"a": (int, 1)}, {"a": (int, 2)}, r"m\.a: left out, it means 2 instead of 1"),
        ({"a": (int, 1)}, {"a": (bool, True)}, r"m\.a"),
        (
            {"a": (Literal["x", "y"], ...)},
            {"a": (Literal["x"], ...)},
            r"m\.a: 'y' beside x \(breaks writers\)",
        ),
        (
            {"a": (Literal["x"], ...)},
            {"a": (Literal["x", "y"], ...)},
            r"m\.a: 'y' beside x \(breaks readers\)",
        ),
        ({"a": (Literal["x"], ...)}, {"a": TEXT}, r"m\.a: any string instead of one of x"),
        ({"a": TEXT}, {"a": (Name, ...)}, r"m\.a: pattern open instead of .*breaks writers"),
        ({"a": (Name, ...)}, {"a": TEXT}, r"m\.a: pattern open instead of .*breaks readers"),
        ({"a": INT}, {"a": (PositiveInt, ...)}, r"m\.a: exclusiveMinimum open instead of 0"),
        ({"a": (Instant, ...)}, {"a": TEXT}, r"m\.a: format open instead of date-time"),
        ({"a": (list[int], ...)}, {"a": (list[str], ...)}, r"m\.a\[\]: string instead of integer"),
        ({"a": (tuple[int, int], ...)}, {"a": (tuple[int], ...)}, r"m\.a: 1 named elements"),
        (
            {"a": (dict[str, int], ...)},
            {"a": (dict[str, str], ...)},
            r"m\.a\.\*: string instead of integer",
        ),
        ({"a": (Inner, ...)}, {"a": (Usage, ...)}, r"m\.a\.x: not always there"),
        ({"a": (Any, ...)}, {"a": INT}, r"m\.a: anything instead of integer \(breaks writers"),
        ({"a": INT}, {"a": (Any, ...)}, r"m\.a: anything instead of integer \(breaks readers"),
        ({"a": (Decimal, ...)}, {"a": INT}, r"m\.a"),
    ],
)
def test_changes_that_break_somebody_are_named(
    old: dict[str, Any], new: dict[str, Any], complaint: str
) -> None:
    found = change(old, new)
    assert any(re.search(complaint, line) for line in found), found


def test_a_message_that_goes_away_breaks_readers() -> None:
    assert breaking(contracts(), {})[0] == "event: the message is gone"


def test_every_message_of_ours_is_compatible_with_itself() -> None:
    assert breaking(contracts(), contracts()) == []


def test_a_keyword_that_is_not_understood_counts_as_broken() -> None:
    odd = {"type": "object", "patternProperties": {"^x": {"type": "integer"}}}
    assert beyond(odd, odd, "m") == ["m: patternProperties cannot be compared"]


def test_a_model_within_itself_is_compared_once() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"}}}}}
    assert beyond(tree, tree, "m") == []


# --- the comparison itself, checked by values

TYPES: list[Any] = [
    int,
    float,
    str,
    bool,
    int | None,
    int | str,
    list[int],
    list[float],
    dict[str, int],
    dict[str, Any],
    tuple[int, str],
    Literal["x"],
    Literal["x", "y"],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=5, le=9)],
    Annotated[int, Field(gt=5)],
    Annotated[str, Field(max_length=3)],
    Annotated[str, Field(max_length=2)],
    Annotated[list[int], Field(min_length=1)],
    Name,
    Inner,
    Inner | None,
    Usage,
    UsageMore,
    Any,
]
VALUES: list[Any] = [
    *(None, True, -1, 0, 3, 5, 6, 12, 0.5, "", "x", "y", "z", "Z", "abc", "long"),
    *([], [1], [0.5], ["x"], [1, "x"], {}, {"n": 1}, {"n": "x"}, {"n": None}),
    *({"x": 1}, {"x": "1"}, {"x": 1, "y": "t"}, {"x": 1, "y": 0}),
    *({"calls": 1}, {"calls": "t"}, {"calls": 1, "tokens": 1}, {"tokens": "t"}),
]


# Harmless, and yet refused: an enum against a pattern or a length, `> 5` against `>= 0`.
UNDECIDED = re.compile(r"m: (maxLength|pattern|minimum) open instead of .*")


def written(kind: Any) -> list[Any]:
    """What a writer of this type may write: the values that it takes, without unknown fields."""
    adapter, found = TypeAdapter(kind), []
    for value in VALUES:
        with suppress(ValidationError):
            known = adapter.validate_json(json.dumps(value), strict=True)
            found.append(adapter.dump_python(known, mode="json", exclude_unset=True))
    return found


def accepts(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("narrow", TYPES, ids=str)
def test_one_type_lies_within_another_exactly_if_all_its_values_do(narrow: Any) -> None:
    values = written(narrow)
    for wide in TYPES:
        found = beyond(TypeAdapter(narrow).json_schema(), TypeAdapter(wide).json_schema(), "m")
        harmless = all(accepts(wide, value) for value in values)
        undecided = harmless and all(map(UNDECIDED.fullmatch, found))
        assert undecided or (found == []) == harmless, (wide, found)
