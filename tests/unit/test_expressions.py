"""Expressions: what they read, what they give, and what no author may write."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.expressions import (
    VALUE_CHARS_MAX,
    ExpressionError,
    compile_expression,
    is_true,
)
from events.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("data.total > `100`", {"data"}),
        ("triage.category == 'billing' && !data.vip", {"triage", "data"}),
        ("not_null(answer.text, data.text)", {"answer", "data"}),
        ("{total: data.total, both: [triage, event.id]}", {"data", "triage", "event"}),
        ("lines[?qty > `2`].sku | [0]", {"lines"}),
        ("sort_by(lines, &price)[0].sku", {"lines"}),
        ("map(&sku, lines)", {"lines"}),
        ("lines[*].{sku: sku, all: @}", {"lines"}),
        ("lines.*.sku[].x[1:2]", {"lines"}),
        ("@.data.x", {"data"}),
        ("`true`", set()),
        ('"odd name".x', {"odd name"}),
    ],
)
def test_an_expression_names_what_it_reads(text: str, names: set[str]) -> None:
    assert compile_expression(text).names == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("a b", "column 3: unexpected 'b'"),
        ("a.", "column 3"),
        ("a['", "column 3: Unclosed ' delimiter"),
        ("shout(a)", "unknown function shout()"),
        ("length(a, b)", "length() takes 1 arguments, not 2"),
        ("not_null()", "not_null() takes 1 or more arguments, not 0"),
        ("@", "it reads everything there is"),
        ("keys(@)", "it reads everything there is"),
        ("*", "it reads everything there is"),
        ("[?a]", "it reads everything there is"),
        ("a == `billing`", "write strings as 'text'"),
        ("a > `NaN`", "no finite number"),
        ("!" * 1_999 + "a", "it is nested more than 100 deep"),
        ("(" * 999 + "a" + ")" * 999, "it is nested more than 100 deep"),
        (" || ".join("a" * 150), "it is nested more than 100 deep"),
        ("a" + " | [@,@]" * 12, "over 100 times its input"),
        ("map(&map(&[@,@,@], [@,@,@,@]), a) | [@" + ",@" * 99 + "]", "over 100 times"),
        ("to_string([" * 12 + "a" + "])" * 12, "over 100 times its input"),
        ("&a", "`&` stands for no value"),
        ("[a, &b]", "`&` stands for no value"),
        ("a[?&b]", "`&` stands for no value"),
        ("to_array(&a)", "to_array() takes no `&`"),
        ("not_null(a, &b)", "not_null() takes no `&`"),
        ("join(a, b)", "join() needs a literal separator"),
    ],
)
def test_a_wrong_expression_is_refused_when_it_is_declared(text: str, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        compile_expression(text)

    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "view", "value"),
    [
        ("data.total", {"data": {"total": 3}}, 3),
        ("missing.too", {"data": 1}, None),
        ("lines[?qty > `1`].sku", {"lines": [{"qty": 2, "sku": "a"}, {"qty": 1}]}, ["a"]),
        ("a == `1`", {"a": 1}, True),
        ("length(a)", {"a": "four"}, 4),
        ("to_number(a)", {"a": "12"}, 12),
    ],
)
def test_an_expression_gives_the_value_for_a_view(
    text: str, view: dict[str, Any], value: Any
) -> None:
    assert compile_expression(text).of(view) == value


@pytest.mark.parametrize(
    ("text", "view", "said"),
    [
        ("length(a)", {"a": 3}, "length() got number, wants string or array or object"),
        ("a < b", {"a": 1, "b": "x"}, "not supported between"),
        ("sum(a)", {"a": [1e308, 1e308]}, "which JSON cannot hold"),
        ("to_number(a)", {"a": "nan"}, "which JSON cannot hold"),
        ("a[::0]", {"a": [1]}, "slice step cannot be zero"),
    ],
)
def test_values_that_do_not_fit_are_one_kind_of_error(
    text: str, view: dict[str, Any], said: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text).of(view)

    assert caught.value.kind == "bad_expression"
    assert said in str(caught.value)


def test_a_value_that_is_put_together_is_bounded() -> None:
    twice = compile_expression("[data, data]")
    long = "x" * (VALUE_CHARS_MAX // 2)

    assert twice.of({"data": long[:-10]}) == [long[:-10]] * 2
    with pytest.raises(ExpressionError, match="its value is larger than 4194304 characters"):
        twice.of({"data": long})
    with pytest.raises(ExpressionError, match="its value is larger than"):
        compile_expression("[data, data][]").of({"data": [long + "x"]})
    assert compile_expression("data").of({"data": long * 3}) == long * 3


def test_what_an_expression_says_of_wrong_values_holds_none_of_them() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("length(a)").of({"a": 4_929_000_111})

    assert "4929000111" not in str(caught.value)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_null_false_and_what_is_empty_is_not_true(value: Any) -> None:
    assert not is_true(value)


@pytest.mark.parametrize("value", [0, 0.0, True, "x", [None], {"a": None}])
def test_zero_and_everything_else_is_true(value: Any) -> None:
    assert is_true(value)
